//! Numbers as databases hold them: they have no unsigned ones.

/// For a column; what does not fit is the greatest that does.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// From a column whose CHECK, or whose meaning, forbids negative numbers.
pub(super) fn nat(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

/// From a column that counts attempts or tries.
pub(super) fn count(n: i32) -> u32 {
    u32::try_from(n).unwrap_or(0)
}

/// For a column of small numbers; what does not fit is the greatest that does.
pub(super) fn small(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}
