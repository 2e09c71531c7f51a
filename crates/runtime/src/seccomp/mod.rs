//! Seccomp profiles compiled to classic BPF: the default one (as containerd's and moby's) and JSON files in the
//! format of the OCI runtime specification.
//!
//! Calls next to each other that get the same answer share one comparison, so that a profile is a few dozen
//! instructions instead of hundreds and loads quickly. Only calls by the native numbering are ever allowed: those of
//! other architectures that the kernel also takes (i386, x32) look like calls of a newer kernel, whatever a profile says.

mod syscalls;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::caps;

const ALLOW: u32 = 0x7fff_0000;
const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_THREAD: u32 = 0;
const KILL_PROCESS: u32 = 0x8000_0000;

#[cfg(target_arch = "x86_64")]
const NATIVE_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE_ARCH: u32 = 0xc000_00b7;

/// Calls from this number on are those of x32, under the same architecture.
const X32: u32 = 0x4000_0000;
/// The kernel's limit of a program.
const MAX_INSTRUCTIONS: usize = 4096;

/// A refusal that looks like a missing permission.
const DENY: u32 = ERRNO | libc::EPERM as u32;
/// A refusal that looks like an old kernel, so that libraries fall back.
const UNKNOWN: u32 = ERRNO | libc::ENOSYS as u32;

/// Calls that the default profile refuses, and the capabilities of which one lifts the refusal.
#[rustfmt::skip]
const RESTRICTED: &[(&[&str], &[&str])] = &[
    (&["bpf"], &["SYS_ADMIN", "BPF"]),
    (&["perf_event_open"], &["SYS_ADMIN", "PERFMON"]),
    (&["syslog"], &["SYS_ADMIN", "SYSLOG"]),
    (&["fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr",
       "move_mount", "open_tree", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns", "umount2",
       "unshare"], &["SYS_ADMIN"]),
    (&["kexec_file_load", "kexec_load", "reboot"], &["SYS_BOOT"]),
    (&["chroot"], &["SYS_CHROOT"]),
    (&["delete_module", "finit_module", "init_module"], &["SYS_MODULE"]),
    (&["acct"], &["SYS_PACCT"]),
    (&["kcmp", "pidfd_getfd", "process_madvise"], &["SYS_PTRACE"]),
    (&["ioperm", "iopl"], &["SYS_RAWIO"]),
    (&["clock_settime", "settimeofday"], &["SYS_TIME"]),
    (&["vhangup"], &["SYS_TTY_CONFIG"]),
    (&["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"], &["SYS_NICE"]),
    (&["open_by_handle_at"], &["DAC_READ_SEARCH"]),
    (&["_sysctl", "add_key", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old", "get_kernel_syms",
       "getpmsg", "io_uring_enter", "io_uring_register", "io_uring_setup", "keyctl", "migrate_pages", "move_pages",
       "nfsservctl", "pivot_root", "putpmsg", "query_module", "request_key", "security", "swapoff", "swapon",
       "sysfs", "tuxcall", "uselib", "userfaultfd", "ustat", "vserver"], &[]),
];

/// The personalities that the default profile allows.
const PERSONALITIES: &[u64] = &[0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `CLONE_NEW*` except `CLONE_NEWTIME`, which clone cannot take.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// Sockets of this family reach the host of a virtual machine.
const AF_VSOCK: u64 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    MaskedEqual(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    argument: u32,
    compare: Compare,
    value: u64,
}

/// Alternatives for one call, the first whose conditions all hold decides.
type Rules = Vec<(Vec<Condition>, u32)>;

#[derive(Debug, Default)]
struct Profile {
    default: u32,
    /// The answer to calls that are newer than this list.
    newer: u32,
    calls: BTreeMap<u32, Rules>,
}

fn number(name: &str) -> Option<u32> {
    let mut all = syscalls::COMMON.iter().chain(syscalls::LEGACY);
    all.find(|(known, _)| *known == name).map(|(_, number)| *number as u32)
}

/// The default profile for a process with these capabilities, compiled.
pub fn default_profile(capabilities: u64) -> Vec<u8> {
    let has = |names: &[&str]| names.iter().any(|name| caps::bit(name).is_some_and(|bit| capabilities & bit != 0));
    let mut profile = Profile { default: DENY, newer: UNKNOWN, calls: BTreeMap::new() };
    for (name, number) in syscalls::COMMON.iter().chain(syscalls::LEGACY) {
        let refused = RESTRICTED.iter().any(|(names, lifting)| names.contains(name) && !has(lifting));
        if !refused {
            profile.calls.insert(*number as u32, vec![(Vec::new(), ALLOW)]);
        }
    }
    let mut set = |name: &str, rules: Rules| {
        if let Some(number) = number(name) {
            profile.calls.insert(number, rules);
        }
    };
    let when = |argument, compare, value| vec![Condition { argument, compare, value }];
    let personalities = PERSONALITIES.iter().map(|value| (when(0, Compare::Equal, *value), ALLOW)).collect();
    set("personality", personalities);
    set("socket", vec![(when(0, Compare::NotEqual, AF_VSOCK), ALLOW)]);
    if !has(&["SYS_ADMIN"]) {
        set("clone", vec![(when(0, Compare::MaskedEqual(NAMESPACE_FLAGS), 0), ALLOW)]);
        // Its flags are in memory, where no filter can look.
        set("clone3", vec![(Vec::new(), UNKNOWN)]);
    }
    encode(&compile(&profile))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonProfile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<JsonArchitecture>>,
    #[serde(default)]
    syscalls: Vec<JsonRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonArchitecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

/// What profiles call architectures, after `SCMP_ARCH_`.
#[rustfmt::skip]
const ARCHITECTURES: &[&str] = &[
    "NATIVE", "X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64",
    "MIPSEL64N32", "PPC", "PPC64", "PPC64LE", "S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K",
    "SH", "SHEB",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<JsonArgument>>,
    #[serde(default)]
    includes: Option<JsonWhen>,
    #[serde(default)]
    excludes: Option<JsonWhen>,
}

#[derive(Deserialize)]
struct JsonWhen {
    #[serde(default)]
    caps: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonArgument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

fn action(name: &str, errno: Option<u32>) -> Result<u32, String> {
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    Ok(match name {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_ERRNO" => ERRNO | data,
        "SCMP_ACT_TRACE" => TRACE | data,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        _ => return Err(format!("unknown seccomp action {name:?}")),
    })
}

/// A profile in the OCI runtime specification's JSON, compiled for a process with these capabilities.
pub fn json_profile(text: &[u8], capabilities: u64) -> Result<Vec<u8>, String> {
    let json: JsonProfile =
        serde_json::from_slice(text).map_err(|error| format!("decoding seccomp profile failed: {error}"))?;
    check_architectures(&json)?;
    let default = action(&json.default_action, json.default_errno_ret)?;
    let has = |names: &[String]| names.iter().all(|name| caps::bit(name).is_some_and(|bit| capabilities & bit != 0));
    let mut profile = Profile {
        default,
        newer: if default & 0x7fff_0000 == ERRNO { UNKNOWN } else { default },
        calls: BTreeMap::new(),
    };
    for rule in &json.syscalls {
        if rule.includes.as_ref().is_some_and(|when| !has(&when.caps))
            || rule.excludes.as_ref().is_some_and(|when| !when.caps.is_empty() && has(&when.caps))
        {
            continue;
        }
        let action = action(&rule.action, rule.errno_ret)?;
        let conditions = rule.args.iter().flatten().map(condition).collect::<Result<Vec<_>, _>>()?;
        let alternatives = alternatives(conditions);
        for number in rule.names.iter().filter_map(|name| number(name)) {
            let rules = profile.calls.entry(number).or_default();
            rules.extend(alternatives.iter().map(|conditions| (conditions.clone(), action)));
        }
    }
    let program = compile(&profile);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(format!(
            "the seccomp profile takes {} instructions, and the kernel loads {MAX_INSTRUCTIONS} at most",
            program.len()
        ));
    }
    Ok(encode(&program))
}

/// Refuses names that are no architecture. Which of them a profile lists changes nothing: native calls are decided by
/// its rules, and all others refused.
fn check_architectures(json: &JsonProfile) -> Result<(), String> {
    let mapped = json.arch_map.iter().flatten();
    let mapped =
        mapped.flat_map(|map| std::iter::once(&map.architecture).chain(map.sub_architectures.iter().flatten()));
    let mut all = json.architectures.iter().flatten().chain(mapped);
    let known = |name: &str| name.strip_prefix("SCMP_ARCH_").is_some_and(|name| ARCHITECTURES.contains(&name));
    match all.find(|name| !known(name)) {
        Some(name) => Err(format!("unknown seccomp architecture {name:?}")),
        None => Ok(()),
    }
}

/// Conditions that must all hold, unless several are about the same argument: then, as in the OCI runtimes, each is a
/// rule of its own. So no rule has more than six conditions, which its jumps can pass.
fn alternatives(conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    let arguments: std::collections::BTreeSet<_> = conditions.iter().map(|condition| condition.argument).collect();
    if arguments.len() == conditions.len() {
        return vec![conditions];
    }
    conditions.into_iter().map(|condition| vec![condition]).collect()
}

fn condition(argument: &JsonArgument) -> Result<Condition, String> {
    if argument.index > 5 {
        return Err(format!("seccomp argument index {} is not below 6", argument.index));
    }
    let compare = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Compare::Equal,
        "SCMP_CMP_NE" => Compare::NotEqual,
        "SCMP_CMP_LT" => Compare::Less,
        "SCMP_CMP_LE" => Compare::LessOrEqual,
        "SCMP_CMP_GT" => Compare::Greater,
        "SCMP_CMP_GE" => Compare::GreaterOrEqual,
        "SCMP_CMP_MASKED_EQ" => {
            let (argument, mask, value) = (argument.index, argument.value, argument.value_two);
            return Ok(Condition { argument, compare: Compare::MaskedEqual(mask), value });
        }
        other => return Err(format!("unknown seccomp operator {other:?}")),
    };
    Ok(Condition { argument: argument.index, compare, value: argument.value })
}

#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    value: u32,
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
/// Stands for "to the next alternative" until its place is known.
const FAIL: u8 = 255;

fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

fn jump(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

/// Code that goes on after itself when the condition holds and to `FAIL` when not.
fn check(condition: &Condition, out: &mut Vec<Instruction>) {
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    // Arguments are 64-bit, little-endian, from byte 16 of seccomp_data on.
    let load_low = plain(LOAD, 16 + 8 * condition.argument);
    let load_high = plain(LOAD, 20 + 8 * condition.argument);
    match condition.compare {
        Compare::Equal => {
            out.extend([load_high, jump(JUMP_EQUAL, high, 0, FAIL), load_low, jump(JUMP_EQUAL, low, 0, FAIL)])
        }
        Compare::MaskedEqual(mask) => out.extend([
            load_high,
            plain(AND, (mask >> 32) as u32),
            jump(JUMP_EQUAL, high, 0, FAIL),
            load_low,
            plain(AND, mask as u32),
            jump(JUMP_EQUAL, low, 0, FAIL),
        ]),
        Compare::NotEqual => {
            out.extend([load_high, jump(JUMP_EQUAL, high, 0, 2), load_low, jump(JUMP_EQUAL, low, FAIL, 0)])
        }
        Compare::Greater | Compare::GreaterOrEqual => {
            let code = if condition.compare == Compare::Greater { JUMP_GREATER } else { JUMP_GREATER_OR_EQUAL };
            out.extend([
                load_high,
                jump(JUMP_GREATER, high, 3, 0),
                jump(JUMP_EQUAL, high, 0, FAIL),
                load_low,
                jump(code, low, 0, FAIL),
            ]);
        }
        Compare::Less | Compare::LessOrEqual => {
            let code = if condition.compare == Compare::Less { JUMP_GREATER_OR_EQUAL } else { JUMP_GREATER };
            out.extend([
                load_high,
                jump(JUMP_GREATER, high, FAIL, 0),
                jump(JUMP_EQUAL, high, 0, 2),
                load_low,
                jump(code, low, FAIL, 0),
            ]);
        }
    }
}

/// Code that returns the answer for one call.
fn answer(rules: &Rules, default: u32) -> Vec<Instruction> {
    let mut out = Vec::new();
    for (conditions, action) in rules {
        let mut block = Vec::new();
        for condition in conditions {
            check(condition, &mut block);
        }
        let length = block.len();
        for (at, instruction) in block.iter_mut().enumerate() {
            // Past the rest of the checks and the return after them.
            let next = (length - at) as u8;
            if instruction.jump_true == FAIL {
                instruction.jump_true = next;
            }
            if instruction.jump_false == FAIL {
                instruction.jump_false = next;
            }
        }
        out.extend(block);
        out.push(plain(RETURN, *action));
        if conditions.is_empty() {
            return out;
        }
    }
    out.push(plain(RETURN, default));
    out
}

fn compile(profile: &Profile) -> Vec<Instruction> {
    let highest = syscalls::COMMON.iter().chain(syscalls::LEGACY).map(|(_, number)| *number as u32).max().unwrap_or(0);
    let refuse = vec![(Vec::new(), profile.default)];
    // Ranges of numbers with the same answer, as (first number after it, answer).
    let mut ranges: Vec<(u32, &Rules)> = Vec::new();
    for number in 0..=highest {
        let rules = profile.calls.get(&number).unwrap_or(&refuse);
        match ranges.last_mut() {
            Some((end, last)) if *last == rules => *end = number + 1,
            _ => ranges.push((number + 1, rules)),
        }
    }
    let mut code = vec![
        plain(LOAD, 4),
        jump(JUMP_EQUAL, NATIVE_ARCH, 1, 0),
        plain(RETURN, UNKNOWN),
        plain(LOAD, 0),
        jump(JUMP_GREATER_OR_EQUAL, X32, 0, 1),
        plain(RETURN, UNKNOWN),
    ];
    for (end, rules) in ranges {
        let block = answer(rules, profile.default);
        if block.len() < usize::from(FAIL) {
            code.push(jump(JUMP_GREATER_OR_EQUAL, end, block.len() as u8, 0));
        } else {
            code.push(jump(JUMP_GREATER_OR_EQUAL, end, 0, 1));
            code.push(plain(JUMP, block.len() as u32));
        }
        code.extend(block);
    }
    code.push(plain(RETURN, profile.newer));
    code
}

fn encode(code: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(code.len() * 8);
    for instruction in code {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jump_true, instruction.jump_false]);
        bytes.extend(instruction.value.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program on one call, as the kernel would.
    fn run(program: &[u8], name: &str, arguments: &[u64]) -> u32 {
        run_number(program, number(name).unwrap(), arguments)
    }

    fn run_number(program: &[u8], call: u32, arguments: &[u64]) -> u32 {
        run_on(program, NATIVE_ARCH, call, arguments)
    }

    fn run_on(program: &[u8], architecture: u32, call: u32, arguments: &[u64]) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&call.to_ne_bytes());
        data[4..8].copy_from_slice(&architecture.to_ne_bytes());
        for (index, argument) in arguments.iter().enumerate() {
            data[16 + index * 8..24 + index * 8].copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut value) = (0usize, 0u32);
        loop {
            let raw = &program[at * 8..at * 8 + 8];
            let code = u16::from_ne_bytes([raw[0], raw[1]]);
            let k = u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]);
            let choose = |yes: bool| usize::from(if yes { raw[2] } else { raw[3] });
            match code {
                LOAD => value = u32::from_ne_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
                AND => value &= k,
                JUMP => at += k as usize,
                JUMP_EQUAL => at += choose(value == k),
                JUMP_GREATER => at += choose(value > k),
                JUMP_GREATER_OR_EQUAL => at += choose(value >= k),
                RETURN => return k,
                _ => panic!("unknown instruction {code:#x}"),
            }
            at += 1;
        }
    }

    #[test]
    fn the_default_profile_allows_what_programs_need_and_no_more() {
        let program = default_profile(caps::resolve(&[], &[]).unwrap());
        for name in ["read", "execve", "openat", "futex", "ptrace", "chroot", "landlock_create_ruleset", "capset"] {
            assert_eq!(run(&program, name, &[]), ALLOW, "{name}");
        }
        for name in ["mount", "reboot", "keyctl", "bpf", "unshare", "init_module", "io_uring_setup", "userfaultfd"] {
            assert_eq!(run(&program, name, &[]), DENY, "{name}");
        }
        assert_eq!(run(&program, "clone3", &[]), UNKNOWN);
        assert_eq!(run(&program, "clone", &[libc::CLONE_VM as u64]), ALLOW);
        assert_eq!(run(&program, "clone", &[libc::CLONE_NEWUSER as u64]), DENY);
        assert_eq!(run(&program, "personality", &[0xffff_ffff]), ALLOW);
        assert_eq!(run(&program, "personality", &[0x40_0000]), DENY);
        assert_eq!(run(&program, "socket", &[2]), ALLOW);
        assert_eq!(run(&program, "socket", &[AF_VSOCK]), DENY);
        assert_eq!(run_number(&program, 5000, &[]), UNKNOWN);
        assert!(program.len() / 8 < 250, "{} instructions", program.len() / 8);
    }

    #[test]
    fn capabilities_lift_refusals() {
        let program = default_profile(u64::MAX);
        for name in ["mount", "clone3", "bpf", "settimeofday"] {
            assert_eq!(run(&program, name, &[]), ALLOW, "{name}");
        }
    }

    #[test]
    fn a_profile_file_decides_by_arguments() {
        let text = br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["kill","no_such_call"],"action":"SCMP_ACT_ERRNO","errnoRet":7,
             "args":[{"index":1,"value":8589934592,"op":"SCMP_CMP_GT"}]},
            {"names":["mkdirat"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#;
        let program = json_profile(text, 0).unwrap();
        assert_eq!(run(&program, "kill", &[0, 1 << 33]), ALLOW);
        assert_eq!(run(&program, "kill", &[0, (1 << 33) + 1]), ERRNO | 7);
        assert_eq!(run(&program, "kill", &[0, 5]), ALLOW);
        assert_eq!(run(&program, "mkdirat", &[]), KILL_PROCESS);
        assert!(json_profile(b"{}", 0).is_err());
    }

    #[test]
    fn other_numberings_are_refused_whatever_a_profile_allows() {
        const I386: u32 = 0x4000_0003;
        let open = br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]}"#;
        for program in [json_profile(open, 0).unwrap(), default_profile(u64::MAX)] {
            assert_eq!(run_number(&program, number("getpid").unwrap(), &[]), ALLOW);
            assert_eq!(run_on(&program, I386, 20, &[]), UNKNOWN);
            assert_eq!(run_number(&program, X32 | 39, &[]), UNKNOWN);
            assert_eq!(run_number(&program, u32::MAX, &[]), UNKNOWN);
        }
        let error = json_profile(br#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["VAX"]}"#, 0).unwrap_err();
        assert!(error.contains("VAX"), "{error}");
    }

    #[test]
    fn many_conditions_on_one_argument_are_alternatives() {
        let args: Vec<_> =
            (0..60).map(|value| format!(r#"{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}"#)).collect();
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["kill"],"action":"SCMP_ACT_ALLOW","args":[{}]}}]}}"#,
            args.join(",")
        );
        let program = json_profile(text.as_bytes(), 0).unwrap();
        for (value, answer) in [(0, ALLOW), (41, ALLOW), (59, ALLOW), (60, DENY), (1 << 40, DENY)] {
            assert_eq!(run(&program, "kill", &[value]), answer, "{value}");
        }
        let too_long = text.replace("[\"kill\"]", "[\"kill\",\"mkdir\",\"getpid\"]").replace(
            "}]}]",
            &format!(
                "}}]}},{{\"names\":[\"tkill\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{}]}}]",
                vec![args.join(","); 20].join(",")
            ),
        );
        let error = json_profile(too_long.as_bytes(), 0).unwrap_err();
        assert!(error.contains("instructions"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_profile_is_compiled_or_refused(
            action in "SCMP_ACT_(ALLOW|ERRNO|KILL|LOG|NOTIFY|X)", name in "(read|open|clone|nothing|[a-z]{1,5})",
            operator in "SCMP_CMP_(EQ|NE|LT|MASKED_EQ|X)", index in 0u32..9, value in proptest::prelude::any::<u64>(),
            arguments in 0usize..60, noise in "[\\[\\]{}:,\"a-z0-9]{0,40}",
        ) {
            let _ = json_profile(noise.as_bytes(), 0);
            let argument = serde_json::json!({"index": index, "value": value, "op": operator});
            let rule = serde_json::json!({"names": [name], "action": action, "args": vec![argument; arguments]});
            let profile = serde_json::json!({"defaultAction": action, "syscalls": [rule.clone(), rule]});
            if let Ok(program) = json_profile(profile.to_string().as_bytes(), 0) {
                proptest::prop_assert!(program.len().is_multiple_of(8) && program.len() / 8 <= 4096);
            }
        }
    }
}
