//! Tells the story of the demo, one line for each step. Colours only on a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Prints steps as they end.
#[derive(Debug)]
pub struct Narrator {
    colours: bool,
    told: u32,
}

impl Narrator {
    /// One for the standard output.
    pub fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some();
        Self {
            colours: io::stdout().is_terminal() && !plain,
            told: 0,
        }
    }

    /// A heading.
    pub fn chapter(&self, title: &str) {
        self.say(&format!("\n{}", self.painted("1", title)));
    }

    /// A step that held.
    pub fn held(&mut self, what: impl Display) {
        self.told += 1;
        self.say(&format!("  {} {what}", self.painted("32", "✓")));
    }

    /// A step that did not hold.
    pub fn failed(&self, what: impl Display) {
        self.say(&format!("  {} {what}", self.painted("31", "✗")));
    }

    /// A line besides the steps.
    pub fn remark(&self, what: impl Display) {
        self.say(&format!("    {what}"));
    }

    /// How many steps held.
    pub fn told(&self) -> u32 {
        self.told
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A reader that went away is not an error: the story is checked all the same.
    fn say(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}

impl Default for Narrator {
    fn default() -> Self {
        Self::new()
    }
}
