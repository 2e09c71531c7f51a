//! The one program of the test image: many small commands, chosen by the name it is called by, or, as `test`, by
//! its first argument.

mod dns;
mod files;
mod grpc;
mod http;
mod init;
mod meet;
mod process;
mod shell;

use std::path::Path;
use std::process::ExitCode;

/// What a command answers: its exit code, or what went wrong (exit code 1).
type Outcome = Result<u8, Box<dyn std::error::Error>>;

/// A command.
type Applet = fn(&[String]) -> Outcome;

/// The commands.
const APPLETS: &[(&str, Applet)] = &[
    ("alloc", process::alloc),
    ("call", http::call),
    ("caps", process::caps),
    ("cat", files::cat),
    ("crash", process::crash),
    ("echo", process::echo),
    ("env", process::env),
    ("exit", process::exit),
    ("fill", files::fill),
    ("grpc", grpc::serve),
    ("guard", process::guard),
    ("hostname", process::hostname),
    ("id", process::id),
    ("ignore", process::ignore),
    ("init", init::init),
    ("lines", process::lines),
    ("link", files::link),
    ("ls", files::ls),
    ("meet", meet::meet),
    ("nslookup", dns::nslookup),
    ("post", http::post),
    ("rm", files::rm),
    ("serve", http::serve),
    ("sh", shell::shell),
    ("sleep", process::sleep),
    ("spin", process::spin),
    ("tar", files::tar),
    ("trap", process::trap),
    ("udp", http::udp),
    ("wget", http::wget),
    ("write", files::write),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the command that the words name.
fn run(words: &[String]) -> Outcome {
    let (program, rest) = words.split_first().ok_or("there is no command")?;
    let name = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some((_, applet)) = APPLETS.iter().find(|(known, _)| *known == name) {
        return applet(rest);
    }
    match rest {
        // What `kubectl cp` asks of the usual `test`.
        [flag, path] if flag == "-d" => Ok(u8::from(!Path::new(path).is_dir())),
        [flag, path] if flag == "-e" => Ok(u8::from(!Path::new(path).exists())),
        [] => {
            APPLETS.iter().for_each(|(name, _)| println!("{name}"));
            Ok(0)
        }
        _ if APPLETS.iter().any(|(known, _)| *known == rest[0]) => run(rest),
        _ => Err(format!("{name}: {} is not a command", rest[0]).into()),
    }
}
