//! Lists of tags and repositories, page by page.

use std::fs;

use crate::error::{Code, Error};
use crate::store::{Registry, entries};

/// The longest page, and the one that is given to who asks for none.
const LONGEST: usize = 10_000;

/// A page of a list.
pub(crate) struct Page {
    pub names: Vec<String>,
    /// With what the next one begins, if there is more.
    pub next: Option<(usize, String)>,
}

/// Which page is asked for.
#[derive(Default)]
pub(crate) struct Wanted {
    /// How many at most.
    pub n: Option<String>,
    /// The one before the first.
    pub last: Option<String>,
}

impl Registry {
    pub(crate) fn tags(&self, repository: &str, wanted: &Wanted) -> Result<Page, Error> {
        let dir = self.repository_dir(repository);
        if fs::metadata(&dir).is_err() {
            return Err(Error::new(Code::NameUnknown, format!("there is no repository {repository}")));
        }
        page(entries(&dir.join("tags"))?.into_iter().map(|(name, _)| name), wanted)
    }

    pub(crate) fn repositories(&self, wanted: &Wanted) -> Result<Page, Error> {
        page(entries(&self.repositories_dir())?.into_iter().map(|(name, _)| name.replace('+', "/")), wanted)
    }
}

fn page(names: impl Iterator<Item = String>, wanted: &Wanted) -> Result<Page, Error> {
    let n = match &wanted.n {
        None => LONGEST,
        Some(text) => text.parse::<usize>().map_err(|_| {
            Error::new(Code::Unsupported, format!("n is {text:?}, and no number"))
                .with_status(http::StatusCode::BAD_REQUEST)
        })?,
    };
    let n = n.min(LONGEST);
    let mut names: Vec<String> = names.filter(|name| wanted.last.as_ref().is_none_or(|last| name > last)).collect();
    names.sort_unstable();
    let is_more = names.len() > n;
    names.truncate(n);
    let next = names.last().filter(|_| is_more).map(|last| (n, last.clone()));
    Ok(Page { names, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_in_the_order_of_names() {
        let all = || ["c", "a", "b"].map(str::to_owned).into_iter();
        let wanted = |n: Option<&str>, last: Option<&str>| Wanted { n: n.map(Into::into), last: last.map(Into::into) };
        let first = page(all(), &wanted(Some("2"), None)).unwrap();
        assert_eq!((first.names, first.next), (vec!["a".to_owned(), "b".into()], Some((2, "b".into()))));
        let second = page(all(), &wanted(Some("2"), Some("b"))).unwrap();
        assert_eq!((second.names, second.next), (vec!["c".to_owned()], None));
        assert!(page(all(), &wanted(Some("0"), None)).unwrap().names.is_empty());
        assert_eq!(page(all(), &wanted(None, None)).unwrap().names.len(), 3);
        assert!(page(all(), &wanted(Some("-1"), None)).is_err());
    }
}
