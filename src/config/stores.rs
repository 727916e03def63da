//! Files with keys, certificates and authorities, as the settings name them: where one is, what
//! form it is said to have, and what opens it. What can be seen of a file without opening it is
//! looked at here; what is inside is read by `rpc`.

use super::given::Reader;
use super::problem::Origin;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};

/// The largest file with keys or certificates that is read, in bytes.
pub const STORE_BYTES_MAX: u64 = 1 << 20;

/// The longest password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// The form of a file with keys or certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreType {
    /// A Java key store, as `keytool -storetype JKS` writes it.
    #[default]
    Jks,
    /// PKCS #12, as openssl and newer versions of keytool write it.
    Pkcs12,
    /// PEM blocks. A key store holds the private key and the chain, leaf first, in one file.
    Pem,
}

/// The words for the forms in settings.
pub const STORE_TYPES: [(&str, StoreType); 3] = [
    ("JKS", StoreType::Jks),
    ("PKCS12", StoreType::Pkcs12),
    ("PEM", StoreType::Pem),
];

/// What opens a store. Never shown, neither in logs nor in messages.
#[derive(Clone, Debug)]
pub enum Password {
    /// It stands in the settings.
    Given(SecretString),
    /// It is the content of this file, without the end of its line.
    File(PathBuf),
}

/// A file with keys or certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where it is; a path of a settings file is relative to that file.
    pub path: PathBuf,
    /// The form that the settings say it has. The file itself is believed.
    pub form: StoreType,
    /// What opens it.
    pub password: Option<Password>,
    /// What opens the private key in it, where that is another password.
    pub key_password: Option<Password>,
}

impl StoreType {
    /// The form of a file by its content; none where it has none of them.
    pub fn of(content: &[u8]) -> Option<Self> {
        match content {
            [0xfe, 0xed, 0xfe, 0xed, ..] => Some(Self::Jks),
            // A sequence: of a length in several bytes, or of one that is not told.
            [0x30, 0x80..=0x84, ..] => Some(Self::Pkcs12),
            _ if contains(content, b"-----BEGIN ") => Some(Self::Pem),
            _ => None,
        }
    }

    /// Its word in settings.
    pub fn word(self) -> &'static str {
        match self {
            Self::Jks => "JKS",
            Self::Pkcs12 => "PKCS12",
            Self::Pem => "PEM",
        }
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Given(one), Self::Given(other)) => one.expose_secret() == other.expose_secret(),
            (Self::File(one), Self::File(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Password {}

impl Password {
    /// A password that is known.
    pub fn given(text: impl Into<String>) -> Self {
        Self::Given(text.into().into())
    }

    /// The password itself, read anew where it stands in a file.
    ///
    /// # Errors
    ///
    /// What is wrong with the file; never what is in it.
    pub fn read(&self) -> Result<SecretString, String> {
        let path = match self {
            Self::Given(secret) => return Ok(secret.clone()),
            Self::File(path) => path,
        };
        let wrong = |what: String| format!("{}: {what}", path.display());
        let about = std::fs::metadata(path).map_err(|error| wrong(cannot_read(&error)))?;
        if !about.is_file() || about.len() > PASSWORD_BYTES_MAX as u64 {
            let what = format!("not a file with a password of {PASSWORD_BYTES_MAX} bytes at most");
            return Err(wrong(what));
        }
        let text = std::fs::read_to_string(path).map_err(|error| wrong(cannot_read(&error)))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
    }
}

impl Store {
    /// A store without a password.
    pub fn new(path: impl Into<PathBuf>, form: StoreType) -> Self {
        Self {
            path: path.into(),
            form,
            password: None,
            key_password: None,
        }
    }

    /// The same, opened by this password.
    #[must_use]
    pub fn with_password(mut self, password: Password) -> Self {
        self.password = Some(password);
        self
    }

    /// Reads the settings of one store, named by their common beginning; `key_password_name` names
    /// those of the key in it.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        store: &str,
        key_password_name: Option<&str>,
        make_one: &str,
    ) -> Option<Self> {
        let name = |end: &str| format!("{store}-{end}");
        let (path_name, type_name) = (name("file-path"), name("type"));
        let form = reader.choice(&type_name, &STORE_TYPES);
        let password = read_password(reader, &name("password"));
        let key_password = key_password_name.and_then(|name| read_password(reader, name));
        let Some(path) = reader.text(&path_name, 1..=4096) else {
            let lonely = [type_name, name("password"), name("password-file")];
            if let Some(lonely) = lonely.iter().find(|name| reader.has(name))
                && !reader.has(&path_name)
            {
                reader.problem(lonely, format!("{path_name} is missing"), make_one);
            }
            return None;
        };
        let path = resolve(&reader.origin(&path_name), Path::new(&path));
        let said = form.unwrap_or_default();
        match look_at(&path) {
            Ok(found) if found != said => {
                let default = if form.is_none() { " by default" } else { "" };
                let what = format!(
                    "{}: the file is {}, not {}{default} as the settings say; it is read as what it is",
                    path.display(),
                    found.word(),
                    said.word()
                );
                let cure = format!("write {}", reader.assignment(&type_name, found.word()));
                reader.warning(&path_name, what, cure);
            }
            Ok(_) => {}
            Err(what) => {
                let what = format!("{}: {what}", path.display());
                let cure = "name a file in the form JKS, PKCS12 or PEM that this node may read";
                reader.problem(&path_name, what, cure);
            }
        }
        if let Some(named) = key_password_name
            && let Some(given) = [named.to_owned(), format!("{named}-file")]
                .iter()
                .find(|name| reader.has(name))
            && look_at(&path) == Ok(StoreType::Pkcs12)
        {
            let what = "without effect: one password opens all of a PKCS12 file";
            reader.warning(given, what, "take it out, and give key-store-password");
        }
        Some(Self {
            path,
            form: said,
            password,
            key_password,
        })
    }
}

fn read_password(reader: &mut Reader<'_>, name: &str) -> Option<Password> {
    let file_name = format!("{name}-file");
    let given = reader.text(name, 0..=PASSWORD_BYTES_MAX);
    let file = reader.text(&file_name, 1..=4096);
    if reader.has(name) && reader.has(&file_name) {
        let what = format!("both {name} and {file_name} are given");
        reader.problem(&file_name, what, "give one of them");
    }
    if let Some(file) = file {
        let file = Password::File(resolve(&reader.origin(&file_name), Path::new(&file)));
        if let Err(what) = file.read() {
            let cure = "name a file that this node may read, with the password in it";
            reader.problem(&file_name, what, cure);
        }
        return Some(file);
    }
    given.map(Password::given)
}

/// Files named in a settings file are looked for beside it.
pub(super) fn resolve(origin: &Origin, path: &Path) -> PathBuf {
    match origin {
        Origin::File { path: settings, .. } => settings
            .parent()
            .map_or_else(|| path.to_path_buf(), |folder| folder.join(path)),
        _ => path.to_path_buf(),
    }
}

/// What can be said of a store without opening it. Never shows what is in the file.
fn look_at(path: &Path) -> Result<StoreType, String> {
    StoreType::of(&read_file(path)?).ok_or_else(|| unknown_form().to_owned())
}

/// What is said of a file that has none of the three forms.
pub fn unknown_form() -> &'static str {
    "neither JKS nor PKCS12 nor PEM"
}

/// The content of a file with keys or certificates.
///
/// # Errors
///
/// That it cannot be read, is empty or is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let about = std::fs::metadata(path).map_err(|error| cannot_read(&error))?;
    if !about.is_file() {
        return Err("not a file".to_owned());
    }
    if about.len() == 0 {
        return Err("is empty".to_owned());
    }
    if about.len() > STORE_BYTES_MAX {
        return Err(format!("is larger than {STORE_BYTES_MAX} bytes"));
    }
    std::fs::read(path).map_err(|error| cannot_read(&error))
}

fn cannot_read(error: &std::io::Error) -> String {
    format!("cannot be read: {error}")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let store = Store::new("a.p12", StoreType::Pkcs12).with_password(Password::given("hush"));
        assert!(!format!("{store:?}").contains("hush"));
    }

    #[test]
    fn a_password_file_is_read_without_its_end_of_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        std::fs::write(&path, " hush \r\n").expect("a file");
        let password = Password::File(path.clone());
        assert_eq!(
            password.read().expect("a password").expose_secret(),
            " hush "
        );
        std::fs::write(&path, "x".repeat(PASSWORD_BYTES_MAX + 1)).expect("a file");
        assert!(
            password
                .read()
                .expect_err("too long")
                .contains("password of")
        );
        std::fs::remove_file(&path).expect("it is there");
        assert!(
            password
                .read()
                .expect_err("gone")
                .contains("cannot be read")
        );
    }

    #[test]
    fn forms_are_known_by_their_content() {
        for (content, form) in [
            (&[0xfe, 0xed, 0xfe, 0xed, 0, 0][..], Some(StoreType::Jks)),
            (&[0x30, 0x82, 1, 0], Some(StoreType::Pkcs12)),
            (&[0x30, 0x80, 2, 1], Some(StoreType::Pkcs12)),
            (
                b"Bag Attributes\n-----BEGIN CERTIFICATE-----",
                Some(StoreType::Pem),
            ),
            (&[0xce, 0xce, 0xce, 0xce], None),
            (b"0 is not a sequence", None),
            (b"", None),
        ] {
            assert_eq!(StoreType::of(content), form, "{content:?}");
        }
    }
}
