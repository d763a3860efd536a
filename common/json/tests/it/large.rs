//! Rows that are far larger than a chunk.

use arrowload_common_json::Options;

use crate::read_again;

#[test]
fn rows_of_many_megabytes_are_read_in_every_form() {
    let long = "a plain text\\n".repeat(1 << 17);
    let row = |id: usize| format!("{{\"id\":{id},\"text\":\"{long}\",\"more\":[{id}]}}");
    for (before, between, after) in [("", "\n", "\n"), ("[", ",", "]"), ("", " ", "")] {
        let rows: Vec<String> = (0..4).map(row).collect();
        let text = format!("{before}{}{after}", rows.join(between));
        let (read, _) = read_again(text.as_bytes(), &Options::default()).expect("it is JSON");
        let rows: usize = read.batches.iter().map(|batch| batch.num_rows()).sum();
        let bytes: usize = read
            .batches
            .iter()
            .map(|batch| batch.column(1).to_data().buffers()[1].len())
            .sum();
        assert_eq!((rows, bytes), (4, 4 * long.len() / 14 * 13));
    }
}
