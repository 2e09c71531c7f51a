//! The newest revision of a cluster, asked for by many at once.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::{Result, Revision};

/// Asks in rounds: whoever comes while a round is under way shares the next one, as the answer to this one may be older than
/// what they must see.
#[derive(Default)]
pub struct ReadIndex {
    /// Rounds begun.
    begun: AtomicU64,
    /// The last round that ended, and its answer.
    last: Mutex<Option<(u64, Result<Revision>)>>,
}

impl ReadIndex {
    /// The answer of a round that begins after this is called.
    pub async fn of(&self, ask: impl AsyncFnOnce() -> Result<Revision>) -> Result<Revision> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some((round, answer)) = &*last
            && *round > before
        {
            return answer.clone();
        }
        let round = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = ask().await;
        *last = Some((round, answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;
    use tokio::task::yield_now;

    #[tokio::test]
    async fn who_comes_during_a_round_shares_the_next() {
        let (index, asked, answers) =
            (Arc::new(ReadIndex::default()), Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(0)));
        let read = || {
            let (index, asked, answers) = (index.clone(), asked.clone(), answers.clone());
            tokio::spawn(async move {
                let ask = async || {
                    let answer = asked.fetch_add(1, Ordering::SeqCst) + 1;
                    answers.acquire().await.unwrap().forget();
                    Ok(answer)
                };
                index.of(ask).await.unwrap()
            })
        };
        let first = read();
        yield_now().await;
        let others = [read(), read(), read()];
        yield_now().await;
        answers.add_permits(2);
        assert_eq!(first.await.unwrap(), 1);
        for other in others {
            assert_eq!(other.await.unwrap(), 2);
        }
        let last = read();
        answers.add_permits(1);
        assert_eq!(last.await.unwrap(), 3);
    }
}
