//! The user's kubeconfig: one context, cluster and user of ours; everything else stays to the letter.

mod edit;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::control::Access;
use crate::files::{resolve, write_atomically_for};

/// How long others may keep the file locked.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file that kubectl changes: the first of `$KUBECONFIG`, else `~/.kube/config`.
pub fn path() -> Result<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty())
    {
        return Ok(first);
    }
    let home = std::env::var_os("HOME")
        .context("neither KUBECONFIG nor HOME is set: set one, so that the kubeconfig can be written")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// Adds or replaces our entries and makes our context current.
pub fn add(path: &Path, context: &str, access: &Access) -> Result<()> {
    change(path, |text| {
        let mut text = text.to_owned();
        for (list, entry) in entries(context, access) {
            text = edit::set_entry(&edit::remove_entry(&text, list, context)?, list, &entry)?;
        }
        edit::set_current(&text, context)
    })
}

/// Removes our entries; the current context only when it is ours.
pub fn remove(path: &Path, context: &str) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    change(path, |text| {
        let mut text = text.to_owned();
        for list in edit::LISTS {
            text = edit::remove_entry(&text, list, context)?;
        }
        let current = edit::parse(&text)?;
        if current.get("current-context").is_some_and(|current| current == context) {
            text = edit::set_current(&text, "")?;
        }
        Ok(text)
    })
}

fn entries(name: &str, access: &Access) -> [(&'static str, Value); 3] {
    let cluster = json!({"server": access.server, "certificate-authority-data": access.authority});
    let user = json!({"client-certificate-data": access.certificate, "client-key-data": access.key});
    let context = json!({"cluster": name, "user": name});
    [
        ("clusters", json!({"name": name, "cluster": cluster})),
        ("contexts", json!({"name": name, "context": context})),
        ("users", json!({"name": name, "user": user})),
    ]
}

/// Reads, changes and replaces the file that a path leads to, alone, and keeps its owner.
fn change(path: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let path = &resolve(path)?;
    let directory = path.parent().context("a kubeconfig is a file in a directory")?;
    let made = directory.exists();
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let _lock = Lock::take(path)?;
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", path.display())),
    };
    let after = change(&before).with_context(|| {
        format!("{} was left as it is: mend or move it, or set KUBECONFIG to another file", path.display())
    })?;
    if after == before {
        return Ok(());
    }
    // With `sudo` the file stays its owner's, and a new one becomes that of whoever has the home.
    let owner = fs::metadata(path).or_else(|_| fs::metadata(directory.parent().filter(|_| !made).unwrap_or(directory)));
    let mode = fs::metadata(path).map_or(0o600, |meta| meta.mode() & 0o700);
    let owner = owner.ok().map(|owner| (owner.uid(), owner.gid()));
    write_atomically_for(path, after.as_bytes(), mode, owner)?;
    if let Some((user, group)) = owner.filter(|_| !made) {
        // Not what a link leads to, which its owner may have put there by now.
        let _ = lchown(directory, Some(user), Some(group));
    }
    Ok(())
}

/// The lock that kubectl and client-go take: a file beside the kubeconfig that only one can make.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Lock> {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        let lock = PathBuf::from(lock);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fs::OpenOptions::new().write(true).create_new(true).open(&lock) {
                Ok(_) => return Ok(Lock(lock)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    bail!("{} is there: remove it if no program changes the kubeconfig now", lock.display())
                }
                Err(error) => return Err(error).with_context(|| format!("failed to make {}", lock.display())),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A kubeconfig of one cluster alone.
pub fn alone(context: &str, access: &Access) -> Result<String> {
    let mut config = Map::new();
    config.insert("apiVersion".into(), "v1".into());
    config.insert("kind".into(), "Config".into());
    for (list, entry) in entries(context, access) {
        config.insert(list.into(), json!([entry]));
    }
    config.insert("current-context".into(), context.into());
    Ok(serde_json::to_string_pretty(&config)? + "\n")
}

/// The server that the first cluster of a file of ours has.
pub fn server(path: &Path) -> Option<String> {
    let config: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(config.pointer("/clusters/0/cluster/server")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn access() -> Access {
        Access {
            server: "https://10.90.0.2:6443".into(),
            authority: "QQ==".repeat(500),
            certificate: "Qg==".into(),
            key: "Qw==".into(),
        }
    }

    const THEIRS: &str = "# my clusters\napiVersion: v1\nkind: Config\ncurrent-context: prod   # careful\ncontexts:\n- name: prod\n  context: {cluster: prod, user: me, namespace: 0123}\nclusters:\n- name: prod\n  cluster: {server: 'https://a'}\nusers:\n# me\n- name: me\n  user: {token: 0123}\n";

    #[test]
    fn other_entries_comments_and_scalars_stay_to_the_letter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(&path, THEIRS).unwrap();
        add(&path, "coracle", &access()).unwrap();
        add(&path, "coracle", &access()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let with = edit::parse(&text).unwrap();
        assert_eq!(with["current-context"], "coracle");
        assert_eq!(with["contexts"].as_array().unwrap().len(), 2);
        let line = text.lines().find(|line| line.contains("certificate-authority-data")).unwrap();
        assert!(line.trim().ends_with(&"QQ==".repeat(500)), "one line: {line}");
        for line in
            ["# my clusters", "# me", "  user: {token: 0123}", "  context: {cluster: prod, user: me, namespace: 0123}"]
        {
            assert!(text.lines().any(|other| other == line), "{line} is gone:\n{text}");
        }
        remove(&path, "coracle").unwrap();
        let expected = THEIRS.replace("current-context: prod   # careful", "current-context: \"\"");
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_goes_back_to_empty_lists() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".kube/config");
        add(&path, "coracle", &access()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let config = edit::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((&config["kind"], &config["apiVersion"]), (&json!("Config"), &json!("v1")));
        remove(&path, "coracle").unwrap();
        let config = edit::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        for list in edit::LISTS {
            assert_eq!(config[list], json!([]), "{list}");
        }
    }

    #[test]
    fn a_linked_file_stays_a_link_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("config"));
        fs::write(&real, THEIRS).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o400)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        add(&link, "coracle", &access()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("10.90.0.2"));
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o400);
    }

    /// As with `sudo -E`, and with `sudo` and the user's home.
    #[test]
    fn what_is_written_as_root_belongs_to_whose_it_was_or_whose_home_it_is_in() {
        if !coracle_testing::is_root() {
            return;
        }
        let own = |path: &Path| fs::symlink_metadata(path).map(|meta| (meta.uid(), meta.gid())).unwrap();
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(home.path(), Some(1234), Some(1235)).unwrap();
        let new = home.path().join(".kube/config");
        add(&new, "coracle", &access()).unwrap();
        assert_eq!((own(&new), own(new.parent().unwrap())), ((1234, 1235), (1234, 1235)));
        let theirs = home.path().join("theirs");
        fs::write(&theirs, THEIRS).unwrap();
        std::os::unix::fs::chown(&theirs, Some(77), Some(78)).unwrap();
        add(&theirs, "coracle", &access()).unwrap();
        assert_eq!(own(&theirs), (77, 78));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "a lock or a temporary file is left");
    }

    #[test]
    fn json_stays_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        fs::write(
            &path,
            r#"{"kind": "Config", "apiVersion": "v1", "users": [{"name": "me", "user": {"token": "0123"}}]}"#,
        )
        .unwrap();
        add(&path, "coracle", &access()).unwrap();
        let config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(config["users"][0]["user"]["token"], "0123");
        assert_eq!(config["users"][1]["name"], "coracle");
        remove(&path, "coracle").unwrap();
        let config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(config["users"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_changed_safely_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        for text in ["a: [unclosed", "clusters: [{name: a, cluster: {server: b}}]\n", "- a\n", "clusters:\n  a: b\n"] {
            fs::write(&path, text).unwrap();
            let error = add(&path, "coracle", &access()).unwrap_err();
            assert!(error.to_string().contains("was left as it is"), "{text}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left beside it");
    }

    #[test]
    fn many_at_once_keep_all_entries() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || add(path, &format!("c{n}"), &access()).unwrap());
            }
        });
        let config = edit::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        for list in edit::LISTS {
            assert_eq!(config[list].as_array().unwrap().len(), 8, "{list}");
        }
    }
}
