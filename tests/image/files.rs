//! Commands about files.

use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use crate::Outcome;

/// `cat [FILE...]`: without files, standard input.
pub fn cat(arguments: &[String]) -> Outcome {
    let mut output = io::stdout();
    if arguments.is_empty() {
        io::copy(&mut io::stdin(), &mut output)?;
    }
    for path in arguments {
        let mut file = fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
        io::copy(&mut file, &mut output)?;
    }
    output.flush()?;
    Ok(0)
}

/// `ls [DIRECTORY]`: names in order, without hidden ones.
pub fn ls(arguments: &[String]) -> Outcome {
    let path = arguments.last().map_or(".", String::as_str);
    let entries = fs::read_dir(path).map_err(|error| format!("{path}: {error}"))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names.iter().for_each(|name| println!("{name}"));
    Ok(0)
}

/// `write FILE WORD...`: the words and a newline become the file.
pub fn write(arguments: &[String]) -> Outcome {
    let (path, words) = arguments.split_first().ok_or("a file is missing")?;
    fs::write(path, words.join(" ") + "\n").map_err(|error| format!("{path}: {error}"))?;
    Ok(0)
}

/// `fill FILE MEBIBYTES`: a file that takes that much of its disk; what fits of it stays.
pub fn fill(arguments: &[String]) -> Outcome {
    let [path, size] = arguments else { return Err("fill: a file and a size are needed".into()) };
    let mut file = fs::File::create(path).map_err(|error| format!("{path}: {error}"))?;
    let block = vec![1_u8; 1 << 20];
    for _ in 0..size.parse::<u64>()? {
        file.write_all(&block).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(0)
}

/// `link TARGET PATH`: a symbolic link, whether there is a target or not.
pub fn link(arguments: &[String]) -> Outcome {
    let [target, path] = arguments else { return Err("link: a target and a path are needed".into()) };
    std::os::unix::fs::symlink(target, path).map_err(|error| format!("{path}: {error}"))?;
    Ok(0)
}

/// `rm FILE...`
pub fn rm(arguments: &[String]) -> Outcome {
    for path in arguments {
        fs::remove_file(path).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(0)
}

/// `tar cf - PATH...` and `tar xmf - [-C DIRECTORY]`, which is all that `kubectl cp` uses.
pub fn tar(arguments: &[String]) -> Outcome {
    let (flags, rest) = arguments.split_first().ok_or("tar: flags are missing")?;
    let mut paths = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-C" => std::env::set_current_dir(words.next().ok_or("tar: a directory is missing")?)?,
            "-" => {}
            option if option.starts_with("--") => {}
            path => paths.push(PathBuf::from(path)),
        }
    }
    if flags.contains('x') {
        let mut archive = tar::Archive::new(io::stdin());
        archive.set_preserve_mtime(!flags.contains('m'));
        archive.unpack(".")?;
        return Ok(0);
    }
    let mut builder = tar::Builder::new(io::stdout());
    builder.follow_symlinks(false);
    for path in paths {
        let inside: PathBuf =
            path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).collect();
        let inside = if inside.as_os_str().is_empty() { Path::new(".").to_owned() } else { inside };
        let kind = fs::symlink_metadata(&path).map_err(|error| format!("tar: {}: {error}", path.display()))?;
        if kind.is_dir() {
            builder.append_dir_all(inside, &path)?;
        } else {
            builder.append_path_with_name(&path, inside)?;
        }
    }
    builder.into_inner()?.flush()?;
    Ok(0)
}
