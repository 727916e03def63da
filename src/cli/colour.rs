//! Colours: on a terminal only, and not where NO_COLOR is set (no-color.org). Nothing is said by
//! colour alone.

use comfy_table::{Cell, Color};
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::LazyLock;

/// What a colour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// On its way, or soon to be looked at.
    Passing,
    /// Something is wrong.
    Bad,
    /// One of several: the same number has the same colour.
    Number(usize),
}

/// Colours that are told apart, on dark and on light ground.
const SEVERAL: [(Color, u8); 6] = [
    (Color::Blue, 34),
    (Color::Magenta, 35),
    (Color::Cyan, 36),
    (Color::Green, 32),
    (Color::Yellow, 33),
    (Color::Red, 31),
];

impl Tone {
    fn colour(self) -> (Color, u8) {
        match self {
            Self::Good => (Color::Green, 32),
            Self::Passing => (Color::Yellow, 33),
            Self::Bad => (Color::Red, 31),
            Self::Number(number) => SEVERAL[number % SEVERAL.len()],
        }
    }
}

/// Whether standard output is coloured.
pub fn wanted() -> bool {
    static WANTED: LazyLock<bool> = LazyLock::new(|| {
        decide(
            io::stdout().is_terminal(),
            std::env::var_os("NO_COLOR").as_deref(),
            std::env::var_os("TERM").as_deref(),
        )
    });
    *WANTED
}

fn decide(terminal: bool, no_colour: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    let forbidden = no_colour.is_some_and(|value| !value.is_empty());
    terminal && !forbidden && term != Some(OsStr::new("dumb"))
}

/// A cell of a table.
pub fn cell(text: impl fmt::Display, tone: Option<Tone>) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Some(tone) if wanted() => cell.fg(tone.colour().0),
        _ => cell,
    }
}

/// A text for a line of its own.
pub fn paint(text: impl fmt::Display, tone: Tone) -> String {
    paint_if(wanted(), text, tone)
}

fn paint_if(wanted: bool, text: impl fmt::Display, tone: Tone) -> String {
    if !wanted {
        return text.to_string();
    }
    format!("\x1b[{}m{text}\x1b[0m", tone.colour().1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let set = |text: &'static str| Some(OsStr::new(text));
        assert!(decide(true, None, set("xterm")));
        assert!(decide(true, set(""), None));
        assert!(!decide(true, set("1"), set("xterm")));
        assert!(!decide(true, None, set("dumb")));
        assert!(!decide(false, None, set("xterm")));
    }

    #[test]
    fn a_text_without_colours_is_itself() {
        assert_eq!(paint_if(false, "alive", Tone::Good), "alive");
        assert_eq!(paint_if(true, "lost", Tone::Bad), "\x1b[31mlost\x1b[0m");
    }
}
