//! Converts bytes to Kubernetes quantities and back.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The binary units, the largest first.
const UNITS: [(&str, i64); 4] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
];

/// The quantity in the largest unit without a fraction (apimachinery's canonical form of `BinarySI`).
pub(super) fn of(bytes: i64) -> Quantity {
    let fits = |(_, size): &&(&str, i64)| bytes != 0 && bytes % size == 0;
    let unit = UNITS.iter().find(fits);
    Quantity(unit.map_or_else(
        || bytes.to_string(),
        |(unit, size)| format!("{}{unit}", bytes / size),
    ))
}

/// Bytes of a quantity in the notations that claims use; 0 if it cannot be parsed.
pub(super) fn bytes(quantity: &Quantity) -> i64 {
    let text = quantity.0.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: i64 = match &text[digits.len()..] {
        "" => 1,
        "k" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => 0,
    };
    digits
        .parse::<i64>()
        .map_or(0, |number| number.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_of_claims_are_parsed() {
        let sizes = ["5Gi", "1073741824", "1G", "512Mi", "2Ti", "much"]
            .map(|text| bytes(&Quantity(text.to_owned())));
        assert_eq!(
            sizes,
            [5 << 30, 1 << 30, 1_000_000_000, 512 << 20, 2 << 40, 0]
        );
    }

    #[test]
    fn quantities_have_no_fraction() {
        let sizes = [5 << 30, 1536 << 20, 1_000_000_000, 2 << 40, 0].map(|bytes| of(bytes).0);
        assert_eq!(sizes, ["5Gi", "1536Mi", "1000000000", "2Ti", "0"]);
    }
}
