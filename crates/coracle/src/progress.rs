//! What the user sees while a cluster comes up: a spinner on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows phases and how long each took.
pub struct Progress {
    start: Instant,
    phase_start: Instant,
    phase: Option<String>,
    spinner: Option<ProgressBar>,
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Progress {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_style(
                ProgressStyle::default_spinner().template("{spinner} {msg}").expect("the template is valid"),
            );
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        });
        Progress { start: Instant::now(), phase_start: Instant::now(), phase: None, spinner }
    }

    /// Ends the current phase and begins another.
    pub fn phase(&mut self, name: &str) {
        self.end_phase();
        self.phase_start = Instant::now();
        self.phase = Some(name.into());
        if let Some(spinner) = &self.spinner {
            spinner.set_message(name.to_owned());
        }
    }

    fn end_phase(&mut self) {
        if let Some(phase) = self.phase.take() {
            let line = format!("{phase:<44} {:>7.0} ms", self.phase_start.elapsed().as_secs_f64() * 1000.0);
            match &self.spinner {
                Some(spinner) => spinner.println(line),
                None => eprintln!("{line}"),
            }
        }
    }

    /// Ends the last phase; answers with the time since the start.
    pub fn finish(mut self) -> Duration {
        self.end_phase();
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        self.start.elapsed()
    }
}
