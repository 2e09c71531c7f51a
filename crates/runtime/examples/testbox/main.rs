//! The only program of the images that this crate's tests make: `testbox VERB ARGUMENTS`.

mod attacks;

use std::io::{BufRead, Read, Write};
use std::time::Duration;

fn show(path: &str, wanted: &str) {
    for line in std::fs::read_to_string(path).unwrap_or_default().lines().filter(|line| line.starts_with(wanted)) {
        println!("{line}");
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |at: usize| args.get(at).cloned().unwrap_or_default();
    match arg(0).as_str() {
        "echo" => println!("{}", args[1..].join(" ")),
        "print" => print!("{}", args[1..].join(" ")),
        "fail" => {
            eprintln!("failing");
            std::process::exit(arg(1).parse().unwrap_or(1));
        }
        "sleep" => std::thread::sleep(Duration::from_millis(arg(1).parse().unwrap_or(0))),
        "cat" => {
            let mut line = String::new();
            let mut input = std::io::stdin().lock();
            while input.read_line(&mut line).unwrap_or(0) > 0 {
                print!("got {line}");
                let _ = std::io::stdout().flush();
                line.clear();
            }
            println!("end of input");
        }
        "env" => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        "id" => {
            for wanted in ["Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp:", "Umask"] {
                show("/proc/self/status", wanted);
            }
            println!("cwd {}", std::env::current_dir().unwrap_or_default().display());
        }
        "read" => {
            let mut text = Vec::new();
            match std::fs::File::open(arg(1)).and_then(|mut file| file.read_to_end(&mut text)) {
                Ok(_) => {
                    let _ = std::io::stdout().write_all(&text);
                }
                Err(error) => println!("error {error}"),
            }
        }
        "write" => match std::fs::write(arg(1), arg(2)) {
            Ok(()) => println!("written"),
            Err(error) => println!("error {error}"),
        },
        "ls" => match std::fs::read_dir(arg(1)) {
            Ok(entries) => {
                let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
                names.sort();
                names.iter().for_each(|name| println!("{}", name.to_string_lossy()));
            }
            Err(error) => println!("error {error}"),
        },
        "eat" => {
            let mut kept = Vec::new();
            for _ in 0..arg(1).parse().unwrap_or(0) {
                kept.push(vec![1u8; 1 << 20]);
            }
            println!("ate {}", kept.len());
        }
        "listen" => {
            let socket = std::net::TcpListener::bind(("127.0.0.1", arg(1).parse().unwrap_or(0))).unwrap();
            println!("listening");
            for stream in socket.incoming().flatten() {
                let _ = (&stream).write_all(b"hello\n");
            }
        }
        "listen-and-ignore" => {
            let socket = std::net::TcpListener::bind(("127.0.0.1", arg(1).parse().unwrap_or(0))).unwrap();
            // SAFETY: takes no pointers. Nobody is taken in, and hardly anybody may wait.
            unsafe { libc::listen(std::os::fd::AsRawFd::as_raw_fd(&socket), 0) };
            println!("listening");
            std::thread::sleep(Duration::from_secs(600));
        }
        "tty" => {
            // Waits for a window size, which arrives after the start.
            for _ in 0..100 {
                // SAFETY: winsize is plain data that TIOCGWINSZ fills.
                let size = unsafe {
                    let mut size: libc::winsize = std::mem::zeroed();
                    libc::ioctl(1, libc::TIOCGWINSZ, &raw mut size);
                    size
                };
                if size.ws_col > 0 {
                    println!("size {}x{}", size.ws_col, size.ws_row);
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            // SAFETY: takes no pointers.
            println!("terminal {}", unsafe { libc::isatty(0) });
        }
        "syscalls" => {
            // SAFETY: mount and unshare with null or constant arguments touch no memory of ours.
            unsafe {
                println!("unshare {}", libc::unshare(libc::CLONE_NEWNS));
                println!("keyctl {}", libc::syscall(libc::SYS_keyctl, 0, 0));
            }
        }
        "flood" => {
            let line = "x".repeat(99);
            for _ in 0..arg(1).parse().unwrap_or(0) {
                println!("{line}");
            }
        }
        "leave" => {
            // A child that outlives this process and holds its output.
            let _ = std::process::Command::new("/testbox").args(["sleep", "60000"]).spawn();
            println!("left");
        }
        "attack" => attacks::run(&args[1..]),
        other => {
            eprintln!("unknown verb {other:?}");
            std::process::exit(2);
        }
    }
}
