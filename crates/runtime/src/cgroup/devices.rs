//! Which devices a container may use: the standard ones, terminals, and those it was given. Nodes may be made of
//! any device, because making one gives no access.

use crate::shim::proto::DeviceSpec;

/// Major and minor (`None` for all) of the character devices of every container.
const STANDARD: &[(u32, Option<u32>)] =
    &[(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

fn is_block(device: &DeviceSpec) -> bool {
    device.mode & libc::S_IFMT == libc::S_IFBLK
}

/// The rules as cgroup v1 takes them, after everything was denied.
pub fn rules(devices: &[(DeviceSpec, String)]) -> Vec<String> {
    let mut rules = vec!["c *:* m".to_string(), "b *:* m".to_string()];
    for (major, minor) in STANDARD {
        let minor = minor.map_or("*".to_string(), |minor| minor.to_string());
        rules.push(format!("c {major}:{minor} rwm"));
    }
    for (device, access) in devices {
        let kind = if is_block(device) { 'b' } else { 'c' };
        rules.push(format!("{kind} {}:{} {access}", device.major, device.minor));
    }
    rules
}

const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;

/// One eBPF instruction.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

/// The same rules as a `BPF_PROG_TYPE_CGROUP_DEVICE` program, which answers 1 for "allowed".
pub fn program(devices: &[(DeviceSpec, String)]) -> Vec<u64> {
    const LOAD: u8 = 0x61;
    const MOVE: u8 = 0xbf;
    const MOVE_VALUE: u8 = 0xb7;
    const AND: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP_NOT: u8 = 0x55;
    const EXIT: u8 = 0x95;
    let all = MAKE | READ | WRITE;
    let mut allowed: Vec<(u32, Option<u32>, Option<u32>, u32)> =
        vec![(CHARACTER, None, None, MAKE), (BLOCK, None, None, MAKE)];
    allowed.extend(STANDARD.iter().map(|(major, minor)| (CHARACTER, Some(*major), *minor, all)));
    for (device, access) in devices {
        let bits = access.chars().fold(0, |bits, letter| {
            bits | match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MAKE,
                _ => 0,
            }
        });
        let kind = if is_block(device) { BLOCK } else { CHARACTER };
        allowed.push((kind, Some(device.major), Some(device.minor), bits));
    }
    // r2: device type, r3: wanted access, r4: major, r5: minor, of the context in r1.
    let mut program = vec![
        instruction(LOAD, 2, 1, 0, 0),
        instruction(MOVE, 3, 2, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD, 4, 1, 4, 0),
        instruction(LOAD, 5, 1, 8, 0),
    ];
    for (kind, major, minor, bits) in allowed {
        let mut checks = vec![(2, kind)];
        checks.extend(major.map(|major| (4, major)));
        checks.extend(minor.map(|minor| (5, minor)));
        // Two instructions more prepare the check of access, and two end the rule.
        let partial = bits != all;
        let mut left = checks.len() as i16 + if partial { 3 } else { 0 } + 2;
        for (register, value) in checks {
            left -= 1;
            program.push(instruction(JUMP_NOT, register, 0, left, value as i32));
        }
        if partial {
            program.push(instruction(MOVE, 6, 3, 0, 0));
            program.push(instruction(AND, 6, 0, 0, !(bits as i32)));
            program.push(instruction(JUMP_NOT, 6, 0, 2, 0));
        }
        program.push(instruction(MOVE_VALUE, 0, 0, 0, 1));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(MOVE_VALUE, 0, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Vec<(DeviceSpec, String)> {
        let device =
            DeviceSpec { path: "/dev/x".into(), mode: libc::S_IFBLK | 0o600, major: 8, minor: 1, uid: 0, gid: 0 };
        vec![(device, "rw".into())]
    }

    /// Runs a program on one request, as the kernel would.
    fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let word = program[at];
            let (to, from) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, value) = ((word >> 16) as i16, (word >> 32) as i32);
            match word as u8 {
                0x61 => registers[to] = u64::from(context[offset as usize / 4]),
                0xbf => registers[to] = registers[from],
                0xb7 => registers[to] = value as u64,
                0x57 => registers[to] &= i64::from(value) as u64,
                0x77 => registers[to] >>= value,
                0x55 if registers[to] != value as u64 => at += offset as usize,
                0x55 => {}
                0x95 => return registers[0],
                code => panic!("unknown instruction {code:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn only_standard_and_given_devices_are_allowed() {
        let program = program(&given());
        assert_eq!(run(&program, CHARACTER, READ | WRITE, 1, 3), 1);
        assert_eq!(run(&program, CHARACTER, READ, 136, 77), 1);
        assert_eq!(run(&program, BLOCK, READ | WRITE, 8, 1), 1);
        assert_eq!(run(&program, BLOCK, MAKE, 9, 9), 1);
        assert_eq!(run(&program, BLOCK, READ, 8, 2), 0);
        assert_eq!(run(&program, CHARACTER, READ, 1, 1), 0);
    }

    #[test]
    fn the_kernel_takes_the_program_and_a_process_into_a_group() {
        use std::os::fd::AsFd;
        if !coracle_testing::is_root() {
            return;
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(mount) = super::super::parse_mounts(&mounts).v2 else {
            coracle_testing::skip(coracle_testing::Lacks::Machine("there is no cgroup2 mount"));
            return;
        };
        let name = format!("coracle-test-{}", std::process::id());
        let path = mount.join(&name);
        std::fs::create_dir(&path).unwrap();
        let dir = std::fs::File::open(&path).unwrap();
        let attached = crate::sys::attach_device_program(dir.as_fd(), &program(&given()));
        // SAFETY: the child makes nothing but system calls.
        let child = match unsafe { crate::sys::clone_process(0, Some(dir.as_fd())) } {
            Ok(None) => crate::sys::reap_for_ever(),
            Ok(Some(child)) => child,
            Err(error) => {
                std::fs::remove_dir(&path).unwrap();
                panic!("{error}");
            }
        };
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", child.pid)).unwrap();
        crate::sys::kill(child.pid, libc::SIGKILL).unwrap();
        let pid = rustix::process::Pid::from_raw(child.pid);
        rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
        super::super::remove_tree(&path).unwrap();
        attached.unwrap();
        assert!(groups.contains(&name), "{groups}");
    }

    #[test]
    fn v1_rules_say_the_same() {
        let rules = rules(&given());
        assert!(rules.contains(&"c 1:3 rwm".to_string()) && rules.contains(&"c 136:* rwm".to_string()));
        assert_eq!(rules.last().unwrap(), "b 8:1 rw");
    }
}
