//! What is told: facts, one below the other, and what would help.

/// A story in the making.
#[derive(Debug, Default)]
pub struct Story {
    said: Vec<String>,
    help: Vec<String>,
    depth: usize,
}

impl Story {
    /// Tells something.
    pub fn say(&mut self, text: impl AsRef<str>) {
        self.said.push(format!("{}{}", "  ".repeat(self.depth), text.as_ref()));
    }

    /// Tells the rest of something.
    pub fn below(&mut self, tell: impl FnOnce(&mut Story)) {
        self.depth += 1;
        tell(self);
        self.depth -= 1;
    }

    /// Says what would help; the same thing once.
    pub fn advise(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.help.contains(&text) {
            self.help.push(text);
        }
    }

    /// All of it.
    pub fn text(&self) -> String {
        let mut text: String = self.said.iter().map(|line| format!("{line}\n")).collect();
        if !self.help.is_empty() {
            text.push_str("\nWhat would help:\n");
            self.help.iter().for_each(|help| text.push_str(&format!("- {help}\n")));
        }
        text
    }
}
