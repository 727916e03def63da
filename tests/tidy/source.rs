//! Rust text as the rules need it: without comments and the insides of texts, without test code,
//! and cut into functions. Read by eye and not by a compiler: good enough for formatted code.

/// One file.
pub struct Source {
    /// Its path from the top of the repository, with `/`.
    pub path: String,
    /// As it was written.
    pub text: String,
    /// The same length and lines, with comments and the insides of texts blank.
    pub code: String,
    /// The same again, with test code blank too.
    pub plain: String,
}

/// One function with its body.
pub struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it begins, counted from 1.
    pub line: usize,
    /// How many lines it has.
    pub lines: usize,
    /// Its text.
    pub code: &'a str,
}

impl Source {
    /// Reads a file; `test` says that all of it is test code.
    pub fn new(path: &str, text: &str, test: bool) -> Self {
        let code = blank_comments_and_texts(text);
        let plain = if test {
            blank(&code)
        } else {
            blank_tests(&code)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            plain,
        }
    }

    /// The folder or file under `src/` that the file belongs to, without `.rs`.
    pub fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// The module that the file is, as names below the crate.
    pub fn module(&self) -> Vec<&str> {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let inside = inside.strip_suffix(".rs").unwrap_or(inside);
        let mut names: Vec<_> = inside.split('/').collect();
        if matches!(names.last(), Some(&("mod" | "lib" | "main"))) {
            names.pop();
        }
        names
    }

    /// The files that this one declares as test modules, as paths without `.rs`.
    pub fn test_modules(&self) -> Vec<String> {
        let folder = match self.path.strip_suffix("/mod.rs") {
            Some(folder) => folder.to_owned(),
            None => self.path.trim_end_matches(".rs").to_owned(),
        };
        let after = self.code.split("#[cfg(test)]").skip(1);
        after
            .filter_map(|rest| rest.trim_start().strip_prefix("mod "))
            .filter_map(|rest| rest.split_once(';'))
            .filter(|(name, _)| name.chars().all(is_name))
            .map(|(name, _)| format!("{folder}/{name}"))
            .collect()
    }

    /// The line of an offset, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        line_of(&self.code, offset)
    }

    /// Every function with a body, nested ones too.
    pub fn functions(&self) -> Vec<Function<'_>> {
        let code = &self.code;
        let mut functions = Vec::new();
        for start in words(code, "fn") {
            let rest = code[start + 2..].trim_start();
            let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            if name.is_empty() {
                continue; // A type such as `fn(u8)`.
            }
            if let Some(end) = end_of_item(code, start)
                && code[..end].ends_with('}')
            {
                let line = line_of(code, start);
                let lines = line_of(code, end) - line + 1;
                functions.push(Function {
                    name,
                    line,
                    lines,
                    code: &code[start..end],
                });
            }
        }
        functions
    }
}

/// Where a word stands in the code, whole.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let begins = word.starts_with(is_name);
    let ends = word.ends_with(is_name);
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !(begins && before.is_some_and(is_name) || ends && after.is_some_and(is_name))
        })
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn line_of(code: &str, offset: usize) -> usize {
    code[..offset].bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// The end of the item that begins here: behind its closing brace, or its semicolon.
fn end_of_item(code: &str, start: usize) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others = others.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && others == 0 {
                    return Some(at + 1);
                }
            }
            b';' if braces == 0 && others == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn blank(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' {
                "\n".to_owned()
            } else {
                " ".repeat(c.len_utf8())
            }
        })
        .collect()
}

/// Blanks every item that stands behind `#[cfg(test)]`.
fn blank_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut left = code.to_owned();
    while let Some(start) = left.find(MARK) {
        let end = end_of_item(&left, start + MARK.len()).unwrap_or(left.len());
        let blanked = blank(&left[start..end]);
        left.replace_range(start..end, &blanked);
    }
    left
}

/// Blanks comments and what stands between quotation marks; lines and offsets stay.
fn blank_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let named = code.chars().next_back().is_some_and(is_name);
        let (kept, length) = if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (0, block_comment(rest))
        } else if let Some(length) = (!named).then(|| raw_text(rest)).flatten() {
            (0, length)
        } else if first == '"' {
            (0, quoted(rest, '"'))
        } else if first == '\'' && is_character(rest) {
            (0, quoted(rest, '\''))
        } else {
            (first.len_utf8(), first.len_utf8())
        };
        code.push_str(&rest[..kept]);
        code.push_str(&blank(&rest[kept..length]));
        rest = &rest[length..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

/// The length of `r"…"`, `br#"…"#` and the like.
fn raw_text(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = inner.len() - inner.trim_start_matches('#').len();
    let body = inner[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let closed = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + closed)
}

fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a quotation mark begins a character and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut following = text.chars().skip(1);
    match following.next() {
        Some('\\') => true,
        Some(_) => following.next() == Some('\''),
        None => false,
    }
}
