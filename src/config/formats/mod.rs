//! Settings files: TOML, YAML and Java properties, told apart by their extension. Each form is read
//! into names and values with the line that they stand on; what they mean is not known here.

pub mod properties_file;
pub mod toml_file;
pub mod yaml_file;

use super::given::Given;
use super::problem::{Origin, Problem};
use std::path::Path;

/// The largest settings file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// The form of a settings file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.toml`
    Toml,
    /// `.yaml` and `.yml`, with the same sections as TOML.
    Yaml,
    /// `.properties`, as operators of a sign-on server have it.
    Properties,
}

/// What stands at the top of a TOML or YAML file: a section, its origin and its settings.
pub type Document = Vec<(String, Origin, Given)>;

impl Format {
    /// The form that the extension of a file says.
    ///
    /// # Errors
    ///
    /// Another extension, or none.
    pub fn of(path: &Path) -> Result<Self, Box<Problem>> {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("toml") => Ok(Self::Toml),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("properties") => Ok(Self::Properties),
            _ => Err(whole_file(
                path,
                "the format follows the extension, which is unknown",
                "name the file something.toml, something.yaml or something.properties",
            )),
        }
    }

    /// How a section begins.
    pub(super) fn section_form(self, section: &str) -> String {
        match self {
            Self::Yaml => format!("write {section}: and its settings indented below"),
            _ => format!("write [{section}] and its settings below"),
        }
    }

    /// How a cache begins.
    pub(super) fn cache_form(self) -> &'static str {
        match self {
            Self::Yaml => "write caches: and below it a list of caches, each with its settings",
            _ => "write [[caches]] before each cache",
        }
    }
}

/// Reads a file of this form.
///
/// # Errors
///
/// It cannot be read, is too large, or is not text.
pub fn read(path: &Path, format: Format) -> Result<String, Box<Problem>> {
    let refuse = |what: String| whole_file(path, &what, "name a readable settings file");
    let bytes = read_bounded(path).map_err(refuse)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        // What Java takes such a file for.
        Err(error) if format == Format::Properties => {
            Ok(error.as_bytes().iter().copied().map(char::from).collect())
        }
        Err(_) => Err(whole_file(
            path,
            "not text in UTF-8",
            "save the file as UTF-8",
        )),
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("more than {FILE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

/// A line of a file.
fn line_of(path: &Path, line: usize) -> Origin {
    Origin::File {
        path: path.to_path_buf(),
        line,
    }
}

fn whole_file(path: &Path, what: &str, cure: &str) -> Box<Problem> {
    Box::new(Problem {
        origin: line_of(path, 0),
        setting: String::new(),
        what: what.to_owned(),
        cure: cure.to_owned(),
    })
}

fn syntax(path: &Path, line: usize, form: &str, why: &str) -> Problem {
    Problem {
        origin: line_of(path, line),
        setting: String::new(),
        what: format!("not {form}: {}", why.replace('\n', ", ")),
        cure: "mend the syntax here".to_owned(),
    }
}
