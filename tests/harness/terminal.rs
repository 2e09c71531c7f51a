//! A pseudo-terminal with a program on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::eventually;

/// A program on a terminal.
pub struct Terminal {
    screen: Arc<Mutex<String>>,
    keyboard: File,
    child: Child,
}

impl Terminal {
    /// Starts a program on a terminal of so many columns and rows.
    ///
    /// # Panics
    /// When that is impossible.
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Terminal {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal is made");
        grantpt(&master).expect("the terminal is ours");
        unlockpt(&master).expect("the terminal is unlocked");
        let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave: OwnedFd = rustix::fs::open(&name, flags, Mode::empty()).expect("the terminal opens");
        tcsetwinsize(&slave, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 })
            .expect("it has a size");
        let copy = || slave.try_clone().expect("a descriptor is copied");
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().expect("the program starts");
        let screen = Arc::new(Mutex::new(String::new()));
        let mut output = File::from(master.try_clone().expect("a descriptor is copied"));
        let written = screen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                written.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Terminal { screen, keyboard: File::from(master), child }
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) {
        self.keyboard.write_all(format!("{line}\r").as_bytes()).expect("the terminal takes input");
    }

    /// Whether a text is on the screen.
    pub fn shows(&self, text: &str) -> bool {
        self.screen.lock().expect("nobody panics with it").contains(text)
    }

    /// Waits until a text is on the screen.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        eventually(&format!("{text:?} is on the terminal"), || {
            let screen = self.screen.lock().expect("nobody panics with it");
            if screen.contains(text) { Ok(()) } else { Err(screen.clone()) }
        });
    }

    /// Waits for the program's end; answers its exit code.
    #[track_caller]
    pub fn end(mut self) -> i32 {
        let child = &mut self.child;
        eventually("the program on the terminal ends", || match child.try_wait() {
            Ok(Some(status)) => Ok(status.code().unwrap_or(-1)),
            _ => Err("it runs"),
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
