//! What containers write, and who else writes there.

use super::*;

#[tokio::test]
async fn a_container_whose_output_another_one_floods_still_ends() {
    if !is_root() {
        return;
    }
    let bench = Bench::new().await;
    import(&bench, &[], "");
    let sandbox = shared_sandbox(&bench).await;
    let flooded = bench.start(&sandbox, hostile(&["sleep", "600001"])).await;
    let flooding = bench.start(&sandbox, hostile(&["attack", "flood-output-of", "600001"])).await;
    assert_eq!(exec(&bench, &flooding, &["/testbox", "attack", "wait-for", "/flooding"]).await.as_deref(), Ok(""));
    bench.runtime.stop_container(&flooded, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(bench.wait(&flooded).await.exit_code, 137);
    // Nobody reads there any more.
    bench.wait(&flooding).await;
    assert_eq!(bench.log(&flooding).await, ["flooding", "the output is closed"]);
    bench.end().await;
}
