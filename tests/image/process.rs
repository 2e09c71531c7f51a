//! Commands about the process itself: how it ends, what it may do, what it sees.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;

/// Calls `end` when the process is asked to end. As the first process of its namespace, it would not be ended by
/// the signal otherwise. Must come before any thread is started.
pub fn on_terminate(end: impl FnOnce() + Send + 'static) {
    let set = terminate_set();
    // SAFETY: the set is initialised and lives across the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    std::thread::spawn(move || {
        let mut signal = 0;
        // SAFETY: both pointers are to live locals.
        while unsafe { libc::sigwait(&set, &mut signal) } != 0 {}
        end();
    });
}

fn terminate_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set before sigaddset and assume_init read it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
        set.assume_init()
    }
}

/// The exit code that shells give a process which SIGTERM ended.
pub fn end_as_terminated() {
    std::process::exit(128 + libc::SIGTERM);
}

fn number(arguments: &[String], at: usize) -> Result<u64, Box<dyn std::error::Error>> {
    Ok(arguments.get(at).ok_or("a number is missing")?.parse()?)
}

/// `sleep SECONDS`
pub fn sleep(arguments: &[String]) -> Outcome {
    on_terminate(end_as_terminated);
    let seconds: f64 = arguments.first().ok_or("seconds are missing")?.parse()?;
    std::thread::sleep(Duration::try_from_secs_f64(seconds)?);
    Ok(0)
}

/// `spin SECONDS` keeps a processor busy for a while, and then nothing.
pub fn spin(arguments: &[String]) -> Outcome {
    on_terminate(end_as_terminated);
    let end = std::time::Instant::now() + Duration::from_secs(number(arguments, 0)?);
    while std::time::Instant::now() < end {
        std::hint::spin_loop();
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// `exit CODE`
pub fn exit(arguments: &[String]) -> Outcome {
    Ok(arguments.first().map_or(Ok(0), |code| code.parse())?)
}

/// `echo WORD...`
pub fn echo(arguments: &[String]) -> Outcome {
    println!("{}", arguments.join(" "));
    Ok(0)
}

/// `env [NAME]`: all variables, or the value of one.
pub fn env(arguments: &[String]) -> Outcome {
    match arguments.first() {
        Some(name) => println!("{}", std::env::var(name)?),
        None => std::env::vars_os()
            .for_each(|(name, value)| println!("{}={}", name.to_string_lossy(), value.to_string_lossy())),
    }
    Ok(0)
}

/// `hostname`
pub fn hostname(_: &[String]) -> Outcome {
    println!("{}", rustix::system::uname().nodename().to_string_lossy());
    Ok(0)
}

/// `id`: users and groups, as the kernel writes them.
pub fn id(_: &[String]) -> Outcome {
    status(&["Uid:", "Gid:", "Groups:"])
}

/// `caps`: capabilities, seccomp mode and no_new_privs, as the kernel writes them.
pub fn caps(_: &[String]) -> Outcome {
    status(&["CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"])
}

fn status(wanted: &[&str]) -> Outcome {
    for line in std::fs::read_to_string("/proc/self/status")?.lines() {
        if wanted.iter().any(|name| line.starts_with(name)) {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    Ok(0)
}

/// `alloc MEBIBYTES`: uses that much memory and then waits.
pub fn alloc(arguments: &[String]) -> Outcome {
    on_terminate(end_as_terminated);
    let size = usize::try_from(number(arguments, 0)?)? << 20;
    let mut memory = vec![0_u8; size];
    // Every page is written to, or the kernel would not provide it.
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    println!("allocated {}", std::hint::black_box(&memory).len() >> 20);
    loop {
        std::thread::park();
    }
}

/// `crash`: ends by a signal.
pub fn crash(_: &[String]) -> Outcome {
    eprintln!("about to crash");
    std::process::abort();
}

/// `trap`: ends with 0 when asked to, after a line.
pub fn trap(_: &[String]) -> Outcome {
    on_terminate(|| {
        println!("asked to end");
        std::process::exit(0);
    });
    println!("waiting");
    loop {
        std::thread::park();
    }
}

/// `ignore`: does not end when asked to.
pub fn ignore(_: &[String]) -> Outcome {
    on_terminate(|| println!("asked to end, but stays"));
    println!("waiting");
    loop {
        std::thread::park();
    }
}

/// `lines COUNT [MILLISECONDS]`: writes numbered lines at an interval; without end when the count is 0.
pub fn lines(arguments: &[String]) -> Outcome {
    on_terminate(end_as_terminated);
    let count = number(arguments, 0)?;
    let interval = Duration::from_millis(number(arguments, 1).unwrap_or(0));
    let mut output = std::io::stdout();
    for line in (1_u64..).take_while(|line| count == 0 || *line <= count) {
        writeln!(output, "line {line}")?;
        std::thread::sleep(interval);
    }
    Ok(0)
}

/// `guard COMMAND...`: waits until its standard input ends and then becomes the command. A test holds the other
/// end, so that the command runs however the test ended.
pub fn guard(arguments: &[String]) -> Outcome {
    let mut ignored = Vec::new();
    std::io::stdin().read_to_end(&mut ignored)?;
    let (program, rest) = arguments.split_first().ok_or("a command is missing")?;
    Err(Command::new(program).args(rest).exec().into())
}
