//! Decimals of every width, precision and scale against the server's own text: the encoder that others got wrong.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array, Int64Array,
    UInt64Array,
};
use arrow_buffer::i256;
use arrowload_core::{ErrorKind, Mode};
use serde_json::json;

use crate::server::{Database, database};
use crate::support::{batch, spec, with};

/// The digits with a point, as PostgreSQL prints a numeric of the column's scale.
fn text(value: i256, scale: i8) -> String {
    let digits = value.wrapping_abs().to_string();
    let sign = if value < i256::ZERO { "-" } else { "" };
    if scale < 0 {
        let zeros = "0".repeat(usize::from(scale.unsigned_abs()));
        return if digits == "0" {
            "0".into()
        } else {
            format!("{sign}{digits}{zeros}")
        };
    }
    let scale = scale as usize;
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

/// A generator of one's own, so that every run has the same values.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Any value of up to this many digits; short ones as often as long ones.
    fn digits(&mut self, precision: u32) -> i256 {
        let length = 1 + self.next() as u32 % precision;
        let below = i256::from_i128(10).wrapping_pow(length);
        let bits = i256::from_parts(
            u128::from(self.next()) << 64 | u128::from(self.next()),
            i128::from(self.next()) << 60,
        );
        let value = bits.wrapping_rem(below);
        if self.next().is_multiple_of(2) {
            value.wrapping_neg()
        } else {
            value
        }
    }
}

/// 10^k and its neighbours, both signs, and zero.
fn edges(precision: u32) -> Vec<i256> {
    let mut values = vec![i256::ZERO];
    for exponent in 0..=precision {
        let power = i256::from_i128(10).wrapping_pow(exponent);
        for near in [
            power.wrapping_sub(i256::ONE),
            power,
            power.wrapping_add(i256::ONE),
        ] {
            if near < i256::from_i128(10).wrapping_pow(precision) {
                values.extend([near, near.wrapping_neg()]);
            }
        }
    }
    values
}

/// Each value in every width of array that holds the precision.
fn arrays(values: &[i256], precision: u8, scale: i8) -> Vec<ArrayRef> {
    let to_i128 = |value: &i256| value.to_i128().expect("128 bits");
    let mut arrays: Vec<ArrayRef> = Vec::new();
    let fits = "a precision and scale";
    if precision <= 9 {
        let array =
            Decimal32Array::from_iter_values(values.iter().map(|value| to_i128(value) as i32));
        arrays.push(Arc::new(
            array
                .with_precision_and_scale(precision, scale)
                .expect(fits),
        ));
    }
    if precision <= 18 {
        let array =
            Decimal64Array::from_iter_values(values.iter().map(|value| to_i128(value) as i64));
        arrays.push(Arc::new(
            array
                .with_precision_and_scale(precision, scale)
                .expect(fits),
        ));
    }
    if precision <= 38 {
        let array = Decimal128Array::from_iter_values(values.iter().map(to_i128));
        arrays.push(Arc::new(
            array
                .with_precision_and_scale(precision, scale)
                .expect(fits),
        ));
    }
    let array = Decimal256Array::from_iter_values(values.iter().copied());
    arrays.push(Arc::new(
        array
            .with_precision_and_scale(precision, scale)
            .expect(fits),
    ));
    arrays
}

async fn check(database: &Database, target: &str, array: &ArrayRef, values: &[i256], scale: i8) {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    database
        .load(
            &spec(target, Mode::Append),
            &batch(vec![("id", ids), ("value", Arc::clone(array))]),
        )
        .await;
    let found = database
        .rows(&format!("SELECT value FROM {target} ORDER BY id"))
        .await;
    let expected: Vec<String> = values.iter().map(|value| text(*value, scale)).collect();
    if let Some(place) = (0..values.len()).find(|place| found.get(*place) != expected.get(*place)) {
        panic!(
            "{}: {} arrived as {:?}",
            array.data_type(),
            expected[place],
            found.get(place)
        );
    }
    assert_eq!(found.len(), expected.len());
    database.run(&format!("DROP TABLE {target}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_precision_and_scale_has_its_edges() {
    let Some(database) = database("decimal_edges").await else {
        return;
    };
    for precision in 1..=76_u8 {
        let values = edges(precision.into());
        // All scales for the precisions at which widths and groups of digits change, some for the others.
        let all = [1, 4, 9, 18, 38, 76].contains(&precision);
        let highest = precision as i8;
        let scales: Vec<i8> = if all {
            (-5..=highest).collect()
        } else {
            vec![-3, 0, 1, highest / 2, highest - 1, highest]
        };
        for scale in scales.into_iter().filter(|scale| *scale <= highest) {
            // The widest array each time, the narrower ones where all scales are tried.
            let arrays = arrays(&values, precision, scale);
            for array in if all {
                &arrays[..]
            } else {
                &arrays[arrays.len() - 1..]
            } {
                check(&database, "edges", array, &values, scale).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_at_random_are_what_the_server_prints() {
    let Some(database) = database("decimal_random").await else {
        return;
    };
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for (precision, scale) in [
        (9, 3),
        (18, 2),
        (18, 7),
        (38, 0),
        (38, 10),
        (38, 38),
        (76, 20),
        (76, 75),
        (30, -4),
        (15, 2),
    ] {
        let values: Vec<i256> = (0..100_000)
            .map(|_| random.digits(precision.into()))
            .collect();
        for array in arrays(&values, precision, scale).iter().take(1) {
            check(&database, "random", array, &values, scale).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_with_a_scale_takes_what_fits_exactly() {
    let Some(database) = database("decimal_fit").await else {
        return;
    };
    database.run("CREATE TABLE t (v numeric(6,2))").await;
    let decimals = |values: Vec<i128>| -> ArrayRef {
        Arc::new(
            Decimal128Array::from(values)
                .with_precision_and_scale(20, 4)
                .expect("a scale"),
        )
    };
    database
        .load(
            &spec("t", Mode::Append),
            &batch(vec![("v", decimals(vec![12_300, -99_999_900, 0]))]),
        )
        .await;
    assert_eq!(
        database.rows("SELECT v FROM t ORDER BY v").await,
        ["-9999.99", "0.00", "1.23"]
    );
    for (values, why) in [
        (vec![0, 12_345], "more decimal places"),
        (vec![0, 100_000_000], "more digits"),
    ] {
        let error = database
            .refused(
                &spec("t", Mode::Append),
                &batch(vec![("v", decimals(values))]),
            )
            .await;
        assert_eq!(
            (error.kind(), error.row(), error.get("column")),
            (ErrorKind::InvalidData, Some(1), Some("v")),
            "{error}"
        );
        assert!(error.to_string().contains(why), "{error}");
    }
    database
        .load(
            &with("t", json!({ "round_decimals": true })),
            &batch(vec![("v", decimals(vec![12_350]))]),
        )
        .await;
    assert_eq!(
        database.rows("SELECT v FROM t WHERE v > 1.23").await,
        ["1.24"]
    );
    let whole: ArrayRef = Arc::new(UInt64Array::from(vec![
        u64::MAX,
        0,
        9_999_999_999_999_999_999,
    ]));
    database
        .load(&spec("u", Mode::Append), &batch(vec![("v", whole)]))
        .await;
    assert_eq!(
        database.rows("SELECT v FROM u ORDER BY v DESC").await,
        ["18446744073709551615", "9999999999999999999", "0"]
    );
}
