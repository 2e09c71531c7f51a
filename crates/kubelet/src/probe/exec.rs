//! Probes that run a command.

use std::time::Duration;

use coracle_runtime::cri::{CriError, RuntimeService};

use super::Outcome;

/// How much of the output an event shows.
const MAX_OUTPUT: usize = 10 << 10;

/// Passes when the command exits with 0 in time.
pub(crate) async fn probe(runtime: &dyn RuntimeService, id: &str, command: Vec<String>, timeout: Duration) -> Outcome {
    let shown = command.join(" ");
    match runtime.exec_sync(id, command, Some(timeout)).await {
        Ok(response) if response.exit_code == 0 => Outcome::Success,
        Ok(response) => {
            let mut output = response.stdout;
            output.extend(response.stderr);
            output.truncate(MAX_OUTPUT);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(CriError::DeadlineExceeded(_)) => {
            Outcome::Failure(format!("command timed out: {shown:?} timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Outcome::Unknown(format!("rpc error: {error}")),
    }
}
