//! How much of a node each namespace may take, so that what one asks for leaves the others theirs.

/// Bounds, in elements of sets and maps: the kernel and this process have some thousand bytes for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Most of one namespace.
    pub most: usize,
    /// How much all may take together before each has no more than its share.
    pub total: usize,
    /// What a namespace may take in any case.
    pub share: usize,
}

impl Room {
    /// How much more a namespace may take that has `own`, while all together have `all`.
    pub fn left(&self, own: usize, all: usize) -> usize {
        let left = self.total.saturating_sub(all).max(self.share.saturating_sub(own));
        left.min(self.most.saturating_sub(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_its_share_whatever_others_take_and_never_more_than_the_most() {
        let room = Room { most: 50, total: 100, share: 10 };
        assert_eq!(room.left(0, 0), 50);
        assert_eq!(room.left(30, 30), 20);
        assert_eq!(room.left(0, 80), 20);
        assert_eq!(room.left(0, 100), 10);
        assert_eq!(room.left(7, 1000), 3);
        assert_eq!(room.left(50, 50), 0);
    }
}
