//! User databases that are no files.

use super::*;

#[tokio::test]
async fn a_pipe_in_place_of_the_user_database_holds_nobody_up() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[Entry::Fifo("etc/passwd"), Entry::Link("etc/group", "/proc/self/fd/0")], "");
    let sandbox = bench.sandbox().await;
    let id = bench.start(&sandbox, hostile(&["sleep", "60000"])).await;
    assert_eq!(exec(&bench, &id, &["/testbox", "echo", "ran"]).await.as_deref(), Ok("ran\n"));
    bench.end().await;
}
