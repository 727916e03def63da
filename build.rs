//! Compiles every file under `proto/` without `protoc`, and keeps the descriptor set for reflection.

use prost::Message as _;
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    println!("cargo:rerun-if-changed=proto");
    let mut files = Vec::new();
    proto_files(root, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    let target = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(target, descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        // Goes to and from bytes without structs in between.
        .extern_path(".embergrid.v1.DataFrame", "crate::rpc::frame::DataFrame")
        .compile_fds(descriptors)?;
    Ok(())
}

/// All `.proto` files below a folder.
fn proto_files(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            proto_files(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            println!("cargo:rerun-if-changed={}", path.display());
            found.push(path);
        }
    }
    Ok(())
}
