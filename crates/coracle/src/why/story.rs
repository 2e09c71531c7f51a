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
        self.said.push(format!("{}{}", "  ".repeat(self.depth), plain(text.as_ref())));
    }

    /// Tells the rest of something.
    pub fn below(&mut self, tell: impl FnOnce(&mut Story)) {
        self.depth += 1;
        tell(self);
        self.depth -= 1;
    }

    /// Says what would help; the same thing once.
    pub fn advise(&mut self, text: impl Into<String>) {
        let text = plain(&text.into());
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

/// A text without what would steer a terminal: containers write messages, and anybody writes events.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_told_steers_the_terminal() {
        let mut story = Story::default();
        story.say("it said \u{1b}]52;c;aGk=\u{7} and\nmore");
        story.advise("\u{9b}2J");
        assert_eq!(story.text(), "it said  ]52;c;aGk=  and more\n\nWhat would help:\n-  2J\n");
    }
}
