//! Lists of completion indexes: `1,3-5,7`.

/// The intervals of a list, which ascends and stays below `completions`.
///
/// # Errors
/// What is wrong, as upstream words it.
pub fn intervals(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut out: Vec<(i64, i64)> = Vec::new();
    for part in text.split(',') {
        let (first, last) = interval(part, completions)?;
        match out.last() {
            Some((_, before)) if *before >= first => {
                return Err(format!("non-increasing order, previous: {before}, current: {first}"));
            }
            _ => out.push((first, last)),
        }
    }
    Ok(out)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    match parts.as_slice() {
        [one] => index(one, completions).map(|index| (index, index)),
        [first, last] => {
            let (first, last) = (index(first, completions)?, index(last, completions)?);
            if first >= last {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
            Ok((first, last))
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            crate::field::quote(text)
        )),
    }
}

fn index(text: &str, completions: i64) -> Result<i64, String> {
    let quoted = crate::field::quote(text);
    match text.parse::<i64>() {
        Ok(index) if index >= completions => Err(format!("too large index: {quoted}")),
        Ok(index) => Ok(index),
        Err(_) => Err(format!("cannot convert string to integer for index: {quoted}")),
    }
}

/// How many indexes there are.
pub fn count(intervals: &[(i64, i64)]) -> i64 {
    intervals.iter().map(|(first, last)| last - first + 1).sum()
}

/// The first index that is in both lists.
pub fn overlap(a: &[(i64, i64)], b: &[(i64, i64)]) -> Option<i64> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
        if one.0 <= other.1 && other.0 <= one.1 {
            return Some(one.0.max(other.0));
        }
        if one.1 < other.1 {
            a.next()
        } else {
            b.next()
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ascend_and_stay_below_the_completions() {
        assert_eq!(intervals("1,3-5,7", 8), Ok(vec![(1, 1), (3, 5), (7, 7)]));
        for (text, why) in [
            ("x", "cannot convert string to integer for index: \"x\""),
            ("", ""),
            ("1,", "cannot convert string to integer for index: \"\""),
            ("8", "too large index: \"8\""),
            ("3,2", "non-increasing order, previous: 3, current: 2"),
            ("3-3", "non-increasing order, previous: 3, current: 3"),
            (
                "1-2-3",
                "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
            ),
        ] {
            assert_eq!(intervals(text, 8).err().unwrap_or_default(), why, "{text}");
        }
    }

    #[test]
    fn lists_overlap() {
        assert_eq!(overlap(&[(0, 2), (5, 9)], &[(3, 4), (7, 7)]), Some(7));
        assert_eq!(overlap(&[(0, 2), (5, 9)], &[(3, 4)]), None);
        assert_eq!(count(&[(0, 2), (5, 5)]), 4);
    }
}
