//! Requests answered at once for each user: none takes all the places that there are for all.

use std::collections::HashMap;

use parking_lot::Mutex;

/// How many requests each user makes at once.
pub struct Shares {
    most: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// A part of a user's share, given back when dropped.
pub struct Share<'a> {
    shares: &'a Shares,
    user: String,
}

impl Shares {
    /// So many for each.
    pub fn new(most: usize) -> Shares {
        Shares { most, taken: Mutex::default() }
    }

    /// A part of a user's share; `None` when it is used up.
    pub fn take(&self, user: &str) -> Option<Share<'_>> {
        let mut taken = self.taken.lock();
        let own = taken.get(user).copied().unwrap_or(0);
        if own >= self.most {
            return None;
        }
        taken.insert(user.to_owned(), own + 1);
        Some(Share { shares: self, user: user.to_owned() })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock();
        match taken.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_its_share_and_leaves_those_of_others() {
        let shares = Shares::new(2);
        let own = (shares.take("a"), shares.take("a"));
        assert!(own.0.is_some() && own.1.is_some() && shares.take("a").is_none());
        assert!(shares.take("b").is_some());
        drop(own.0);
        assert!(shares.take("a").is_some());
        drop(own.1);
        assert!(shares.taken.lock().is_empty(), "those who left are forgotten");
    }
}
