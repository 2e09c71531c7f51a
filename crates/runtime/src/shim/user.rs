//! Who a container's process runs as: names looked up in the container's own /etc/passwd and /etc/group.

use std::fs::File;
use std::io::Read;

use rustix::fs::OFlags;

use super::proto::UserSpec;
use super::root::Root;
use crate::cri::LinuxContainerUser;

/// Most bytes read of a user database: a hostile image must not fill the shim's memory.
const MAX_DATABASE: u64 = 4 << 20;

/// A resolved user.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

impl User {
    /// What is told of it, which must fit a message, whatever the container's files say.
    pub fn told(&self) -> LinuxContainerUser {
        const MAX_TOLD: usize = 1_000;
        LinuxContainerUser {
            uid: self.uid.into(),
            gid: self.gid.into(),
            supplemental_groups: self.groups.iter().take(MAX_TOLD).map(|gid| (*gid).into()).collect(),
        }
    }
}

/// Reads a database of the container, which may have put a pipe, a device or anything else in its place: nothing is
/// waited for, and what is no file is empty.
fn read(root: &Root, path: &str) -> String {
    let mut text = Vec::new();
    if let Ok(found) = root.find(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        let file = File::from(found);
        if file.metadata().is_ok_and(|meta| meta.is_file()) {
            let _ = file.take(MAX_DATABASE).read_to_end(&mut text);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Looks the user up in the databases below `root`.
pub fn resolve(spec: &UserSpec, root: &Root) -> Result<User, String> {
    resolve_in(spec, &read(root, "etc/passwd"), &read(root, "etc/group"))
}

fn resolve_in(spec: &UserSpec, passwd: &str, group: &str) -> Result<User, String> {
    let (user, named_group) = match spec.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (spec.user.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6
            && match number {
                Some(uid) => fields[2].parse() == Ok(uid),
                None => fields[0] == user,
            }
    });
    let (uid, mut gid, name, home) = match (&entry, number) {
        (Some(fields), _) => {
            let bad = |_| format!("unable to find user {user}: its entry in the passwd file is malformed");
            let uid = fields[2].parse().map_err(bad)?;
            (uid, fields[3].parse().map_err(bad)?, fields[0], fields[5].to_string())
        }
        (None, Some(uid)) => (uid, 0, "", String::new()),
        (None, None) => return Err(format!("unable to find user {user}: no matching entries in passwd file")),
    };
    let groups_of = || group.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() >= 3);
    if let Some(wanted) = named_group {
        gid = match wanted.parse() {
            Ok(gid) => gid,
            Err(_) => groups_of()
                .find(|fields| fields[0] == wanted)
                .and_then(|fields| fields[2].parse().ok())
                .ok_or_else(|| format!("unable to find group {wanted}: no matching entries in group file"))?,
        };
    }
    if let Some(wanted) = spec.group {
        gid = wanted;
    }
    let mut groups = vec![gid];
    if !name.is_empty() && !spec.strict {
        groups.extend(
            groups_of()
                .filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name)))
                .filter_map(|fields| fields[2].parse::<u32>().ok()),
        );
    }
    groups.extend(&spec.supplemental);
    let mut seen = std::collections::BTreeSet::new();
    groups.retain(|gid| seen.insert(*gid));
    let home = if home.is_empty() { "/".to_string() } else { home };
    Ok(User { uid, gid, groups, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:Web:/home/web:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:1001:\nstaff:x:50:bob,web\n";

    fn user(text: &str) -> UserSpec {
        UserSpec { user: text.into(), ..UserSpec::default() }
    }

    #[test]
    fn names_and_numbers_find_their_groups_and_home() {
        let expected = User { uid: 1000, gid: 1001, groups: vec![1001, 50], home: "/home/web".into() };
        assert_eq!(resolve_in(&user("web"), PASSWD, GROUP), Ok(expected));
        assert_eq!(resolve_in(&user("1000"), PASSWD, GROUP).unwrap().gid, 1001);
        assert_eq!(resolve_in(&user("web:staff"), PASSWD, GROUP).unwrap().gid, 50);
        assert_eq!(resolve_in(&user(""), PASSWD, GROUP).unwrap().home, "/root");
        let strict = UserSpec { supplemental: vec![7], strict: true, ..user("web") };
        assert_eq!(resolve_in(&strict, PASSWD, GROUP).unwrap().groups, [1001, 7]);
    }

    #[test]
    fn a_number_needs_no_entry_but_a_name_does() {
        let spec = UserSpec { user: "7".into(), group: Some(8), supplemental: vec![9, 8], strict: false };
        let expected = User { uid: 7, gid: 8, groups: vec![8, 9], home: "/".into() };
        assert_eq!(resolve_in(&spec, "", ""), Ok(expected));
        assert!(resolve_in(&user("ghost"), PASSWD, GROUP).unwrap_err().contains("no matching entries in passwd file"));
        assert!(resolve_in(&user("0:ghost"), PASSWD, GROUP).unwrap_err().contains("group file"));
    }

    #[test]
    fn databases_are_files_inside_the_root_or_empty() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        std::fs::write(dir.path().join("outside"), "root:x:7:7::/:\n").unwrap();
        std::os::unix::fs::symlink("../../outside", dir.path().join("root/etc/passwd")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("root/etc/group"), fifo, mode, 0).unwrap();
        let root = Root::at(&dir.path().join("root")).unwrap();
        assert_eq!((read(&root, "etc/passwd"), read(&root, "etc/group")), (String::new(), String::new()));
        std::fs::write(dir.path().join("root/outside"), "root:x:0:0::/:\n").unwrap();
        assert_eq!(resolve(&user("root"), &root).unwrap().uid, 0);
    }
}
