//! A shell just good enough to sit at: words, one command a line.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::Command;

use crate::Outcome;

/// `sh` or `sh -c LINES`; knows `exit [CODE]`, `size` (of the terminal), `tty` and every command of the image.
pub fn shell(arguments: &[String]) -> Outcome {
    if let [flag, lines] = arguments
        && flag == "-c"
    {
        let mut last = 0;
        for line in lines.split([';', '\n']) {
            match run(line)? {
                Step::Exit(code) => return Ok(code),
                Step::Next(code) => last = code,
            }
        }
        return Ok(last);
    }
    let mut last = 0;
    let mut input = io::stdin().lock();
    loop {
        if io::stdin().is_terminal() {
            print!("$ ");
            io::stdout().flush()?;
        }
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(last);
        }
        match run(&line)? {
            Step::Exit(code) => return Ok(code),
            Step::Next(code) => last = code,
        }
    }
}

enum Step {
    Exit(u8),
    Next(u8),
}

fn run(line: &str) -> Result<Step, Box<dyn std::error::Error>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some((command, rest)) = words.split_first() else { return Ok(Step::Next(0)) };
    match *command {
        "exit" => return Ok(Step::Exit(rest.first().map_or(Ok(0), |code| code.parse())?)),
        "tty" => println!("{}", if io::stdin().is_terminal() { "a terminal" } else { "not a terminal" }),
        "size" => {
            let size = rustix::termios::tcgetwinsize(io::stdin())?;
            println!("{} columns, {} rows", size.ws_col, size.ws_row);
        }
        _ => {
            let status = Command::new("/proc/self/exe").args(&words).status()?;
            return Ok(Step::Next(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255)));
        }
    }
    Ok(Step::Next(0))
}
