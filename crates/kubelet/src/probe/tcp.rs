//! Probes that open a TCP connection.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Outcome;

/// Passes when the port accepts a connection in time.
pub(crate) async fn probe(host: &str, port: u16, timeout: Duration) -> Outcome {
    match dial(host, port, timeout).await {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::Failure(error),
    }
}

/// Connects, with an error worded as Go's.
pub(crate) async fn dial(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, String> {
    let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => {
            // Closing with a reset keeps probes from filling the table of ports in TIME_WAIT.
            let _ = stream.set_zero_linger();
            Ok(stream)
        }
        Ok(Err(error)) => {
            let cause = match error.kind() {
                ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
                ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
                _ => error.to_string(),
            };
            Err(format!("dial tcp {shown}: {cause}"))
        }
        Err(_) => Err(format!("dial tcp {shown}: i/o timeout")),
    }
}
