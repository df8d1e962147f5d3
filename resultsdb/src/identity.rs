//! New ids of groups: time-based uuids (version 1), as ResultsDB gives them.

use uuid::Uuid;

/// A new uuid of version 1; its node is random each time, so two of one moment differ.
pub fn new_group() -> Uuid {
    from_parts(net::clock::now().0, net::clock::uuid())
}

fn from_parts(micros: i64, chance: Uuid) -> Uuid {
    /// From the beginning of the Gregorian calendar to 1970, in steps of 100 ns (RFC 9562).
    const GREGORIAN: i64 = 0x01B2_1DD2_1381_4000;
    let ticks = micros.wrapping_mul(10).wrapping_add(GREGORIAN).to_be_bytes();
    let low = u32::from_be_bytes([ticks[4], ticks[5], ticks[6], ticks[7]]);
    let middle = u16::from_be_bytes([ticks[2], ticks[3]]);
    let high = (u16::from_be_bytes([ticks[0], ticks[1]]) & 0x0fff) | 0x1000;
    let mut rest = [0; 8];
    rest.copy_from_slice(&chance.as_bytes()[8..]);
    rest[0] = (rest[0] & 0x3f) | 0x80;
    // A node with this bit set is no network card's.
    rest[2] |= 1;
    Uuid::from_fields(low, middle, high, &rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_group_has_a_time_based_uuid() {
        let uuid = from_parts(1_612_325_106_789_000, Uuid::max());
        assert_eq!(uuid.to_string(), "0007e950-65d5-11eb-bfff-ffffffffffff");
        assert_eq!(uuid.get_version_num(), 1);
        assert_ne!(new_group(), new_group());
    }
}
