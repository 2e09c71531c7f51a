//! What a failed request means: whether it was made, may have been made, or was not, and whether another member should be
//! asked.

use tonic::{Code, Status};

use super::connection::was_not_sent;
use crate::Error;

/// Why a request failed.
#[derive(Debug)]
pub enum Failure {
    /// It was not made, and would not be anywhere else.
    Refused(Error),
    /// It was not made; another member may do it.
    Elsewhere(String),
    /// It was not made, as too many others are; the same member may do it later.
    Busy(String),
    /// It was not made, as the token is not known any more.
    Token(String),
    /// The lease that it names is gone; it was not made.
    NoLease,
    /// It was made, but the answer is larger than is taken.
    LargeAnswer,
    /// It may have been made, or may yet be: nothing more comes from this member.
    Lost(String),
    /// It may have been made, or may yet be: the cluster could not agree in time.
    InDoubt(String),
}

/// What a member's refusal, or its silence, means. `revision` is the one that was asked for.
pub fn failure(status: &Status, revision: u64) -> Failure {
    if was_not_sent(status) {
        return Failure::Elsewhere(cause(status));
    }
    let text = status.message();
    let says = |what: &str| text.contains(what);
    match status.code() {
        Code::OutOfRange if says("has been compacted") => {
            Failure::Refused(Error::Compacted { requested: revision, oldest: revision.saturating_add(1) })
        }
        Code::OutOfRange if says("future revision") => {
            Failure::Refused(Error::Future { requested: revision, newest: revision.saturating_sub(1) })
        }
        Code::OutOfRange if says("decoded message length too large") => Failure::LargeAnswer,
        Code::ResourceExhausted if says("database space exceeded") => Failure::Refused(Error::NoSpace(text.into())),
        Code::ResourceExhausted if says("message larger than max") => Failure::Refused(Error::TooLarge(text.into())),
        Code::ResourceExhausted if says("too many requests") => Failure::Busy(text.into()),
        Code::InvalidArgument if says("request is too large") => Failure::Refused(Error::TooLarge(text.into())),
        Code::InvalidArgument if says("revision of auth store is old") || says("revision in header is old") => {
            Failure::Token(text.into())
        }
        Code::Unauthenticated => Failure::Token(text.into()),
        Code::NotFound if says("lease not found") => Failure::NoLease,
        Code::Unavailable if says("etcdserver: no leader") => Failure::Elsewhere(text.into()),
        Code::Unavailable if says("etcdserver: ") => Failure::InDoubt(text.into()),
        Code::InvalidArgument
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::Unimplemented => Failure::Refused(Error::Refused(text.into())),
        _ => Failure::Lost(cause(status)),
    }
}

/// What is known of why something failed, the innermost cause last.
fn cause(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = if text.is_empty() { more } else { format!("{text}: {more}") };
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surely_was_not_made_is_refused_or_tried_elsewhere() {
        let of = |code, text: &str| failure(&Status::new(code, text), 7);
        let refused = |failure: Failure| match failure {
            Failure::Refused(error) => error,
            other => panic!("{other:?}"),
        };
        assert!(matches!(
            refused(of(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted")),
            Error::Compacted { requested: 7, .. }
        ));
        assert!(matches!(
            refused(of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded")),
            Error::NoSpace(_)
        ));
        assert!(matches!(refused(of(Code::InvalidArgument, "etcdserver: request is too large")), Error::TooLarge(_)));
        assert!(matches!(refused(of(Code::PermissionDenied, "etcdserver: permission denied")), Error::Refused(_)));
        assert!(matches!(of(Code::Unavailable, "etcdserver: no leader"), Failure::Elsewhere(_)));
        for text in ["etcdserver: request timed out", "etcdserver: leader changed", "etcdserver: server stopped"] {
            assert!(matches!(of(Code::Unavailable, text), Failure::InDoubt(_)), "{text}");
        }
        for (code, text) in [
            (Code::Unavailable, "error reading from server: EOF"),
            (Code::Unknown, "raft proposal dropped"),
            (Code::Internal, "h2 protocol error"),
            (Code::Cancelled, ""),
            (Code::DeadlineExceeded, ""),
        ] {
            assert!(matches!(of(code, text), Failure::Lost(_)), "{text}");
        }
    }
}
