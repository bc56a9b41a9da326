//! Positions of a prompt with pictures, on the axes of time, row and column.

use crate::Error;

/// The pictures of a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The token that stands for one merged patch.
    pub token: i64,
    /// (frames, rows, columns) of patches of each picture, in the order of the prompt.
    pub grids: &'a [[i64; 3]],
    /// How many patches, down and across, one token stands for.
    pub merge_size: i64,
}

/// The positions `[3, n]` (time, row, column) of n tokens, and the position of whatever follows.
///
/// Text advances all three axes by one. A picture of (t, h, w) patches is one run of
/// t (h / m) (w / m) tokens, m = `merge_size`; all of it stands at the position it begins at, plus
/// its place in the grid on each axis. What follows comes one after the greatest of these, so it
/// may be fewer than n positions from `start`. O(n).
///
/// # Errors
///
/// - [`Error::InvalidArgument`] where `merge_size` or a grid is below 1, `merge_size` does not divide
///   a grid's rows or columns, `start` is negative or too large, or there are not as many grids as
///   runs.
/// - [`Error::ImageMismatch`] where a run is longer or shorter than its grid.
///
/// Source: Wang et al. 2024 (Qwen2-VL), section 2.1, multimodal rotary position embedding.
pub fn rope_positions(
    ids: &[i64],
    images: &Images<'_>,
    start: i64,
) -> Result<(Vec<i64>, i64), Error> {
    if start < 0 || start.checked_add(ids.len() as i64).is_none() {
        let found = start.to_string();
        return Err(Error::invalid("start", "0 to 2^63 - 1 - tokens", found));
    }
    if images.merge_size < 1 {
        let found = images.merge_size.to_string();
        return Err(Error::invalid("merge_size", "at least 1", found));
    }
    let mut positions = vec![0; 3 * ids.len()];
    let (time, rest) = positions.split_at_mut(ids.len());
    let (row, column) = rest.split_at_mut(ids.len());
    let (mut at, mut next, mut image) = (0, start, 0);
    for run in ids.chunk_by(|&left, &right| (left == images.token) == (right == images.token)) {
        let (from, to) = (at, at + run.len());
        let axes = [
            &mut time[from..to],
            &mut row[from..to],
            &mut column[from..to],
        ];
        if run[0] == images.token {
            let [frames, rows, columns] = merged_grid(images, image, run.len())?;
            fill_grid(axes, next, [rows, columns]);
            next += frames.max(rows).max(columns) as i64;
            image += 1;
        } else {
            for axis in axes {
                for (slot, position) in axis.iter_mut().zip(next..) {
                    *slot = position;
                }
            }
            next += run.len() as i64;
        }
        at = to;
    }
    if image != images.grids.len() {
        return Err(unequal_counts(images, image));
    }
    Ok((positions, next))
}

/// The grid of a picture in tokens, checked against the `found` tokens of its run.
fn merged_grid(images: &Images<'_>, image: usize, found: usize) -> Result<[usize; 3], Error> {
    let m = images.merge_size;
    let Some(&[frames, rows, columns]) = images.grids.get(image) else {
        return Err(unequal_counts(images, image + 1));
    };
    if frames < 1 || rows < 1 || columns < 1 || rows % m != 0 || columns % m != 0 {
        return Err(Error::InvalidRow {
            row: image,
            name: "grids",
            expected: "at least 1, rows and columns multiples of merge_size",
            found: format!("({frames}, {rows}, {columns}) with merge_size {m}"),
        });
    }
    let expected = [frames, rows / m, columns / m].map(i128::from);
    // Three factors below 2^63 may exceed 128 bits; then they are no run's length either.
    let count = (expected[0] * expected[1]).saturating_mul(expected[2]);
    if count != found as i128 {
        return Err(Error::ImageMismatch {
            image,
            expected: count,
            found,
        });
    }
    Ok(expected.map(|size| size as usize))
}

/// Numbers the tokens of a picture in reading order, frame after frame.
fn fill_grid(axes: [&mut [i64]; 3], start: i64, [rows, columns]: [usize; 2]) {
    let [time, row, column] = axes;
    let lines = column.chunks_exact_mut(columns).enumerate();
    for (line, places) in lines {
        let span = line * columns..(line + 1) * columns;
        time[span.clone()].fill(start + (line / rows) as i64);
        row[span].fill(start + (line % rows) as i64);
        for (slot, position) in places.iter_mut().zip(start..) {
            *slot = position;
        }
    }
}

fn unequal_counts(images: &Images<'_>, at_least: usize) -> Error {
    let grids = images.grids.len();
    let found = if at_least > grids {
        format!("{grids} for {at_least} runs or more")
    } else {
        format!("{grids} for {at_least} runs")
    };
    Error::invalid("grids", "one for each run of image tokens", found)
}

#[cfg(test)]
mod tests;
