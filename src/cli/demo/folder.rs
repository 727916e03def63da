//! A folder for the files of one demonstration: certificates, settings, logs. It is gone with its
//! owner, unless it is kept.

use crate::cli::outcome::Failure;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that only this user can read.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// Makes a new one below the system's folder for temporary files.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn create() -> Result<Self, Failure> {
        let mut token = [0; 6];
        crate::client::random_bytes(&mut token)?;
        let name = format!("embergrid-{}", crate::cli::output::hex(&token));
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        Ok(Self { path, kept: false })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it where it is when this value ends.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is left to the system's own cleaning.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
