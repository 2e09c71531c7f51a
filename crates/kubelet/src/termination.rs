//! The last words of a container.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use coracle_runtime::cri::ContainerStatus;
use k8s_openapi::api::core::v1::Container;

use crate::logs::parse_line;

const MAX_MESSAGE: u64 = 4096;
const MAX_LOG_BYTES: u64 = 2048;
const MAX_LOG_LINES: usize = 80;

/// What the container wrote to its termination message file, or the end of its log when it failed without a word
/// and `terminationMessagePolicy` asks for it.
pub(crate) fn termination_message(container: &Container, status: &ContainerStatus, file: &Path) -> String {
    let mut text = tail(file, MAX_MESSAGE).unwrap_or_default();
    let fallback = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if text.is_empty() && fallback && status.exit_code != 0 {
        // A line of the log has a head of about fifty bytes.
        let raw = tail(Path::new(&status.log_path), MAX_LOG_BYTES * 4).unwrap_or_default();
        let mut plain: Vec<u8> = Vec::new();
        for line in raw.split_inclusive(|byte| *byte == b'\n') {
            if let Some(line) = parse_line(line) {
                plain.extend_from_slice(line.content);
                if !line.partial {
                    plain.push(b'\n');
                }
            }
        }
        let lines: Vec<&[u8]> = plain.split_inclusive(|byte| *byte == b'\n').collect();
        text = lines[lines.len().saturating_sub(MAX_LOG_LINES)..].concat();
        text.drain(..text.len().saturating_sub(MAX_LOG_BYTES as usize));
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn tail(file: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text)?;
    Ok(text)
}
