use super::*;

const MS: Duration = Duration::from_millis(1);

fn limits() -> Limits {
    Limits {
        max_batch_size: 8,
        max_wait: 10 * MS,
        capacity: 8,
        ..Limits::default()
    }
}

fn queue(limits: Limits) -> BatchQueue {
    BatchQueue::new(limits).unwrap()
}

fn push(queue: &mut BatchQueue, sizes: &[(u64, u32)], now: Duration) {
    for &(id, tokens) in sizes {
        queue.push(Entry::new(id, tokens), now).unwrap();
    }
}

fn keyed(id: u64, key: u128) -> Entry {
    Entry {
        key: Some(key),
        ..Entry::new(id, 1)
    }
}

#[track_caller]
fn take(queue: &mut BatchQueue, now: Duration) -> Vec<u64> {
    match queue.next_batch(now) {
        Decision::Batch(batch) => batch.ids().collect(),
        other => panic!("expected a batch, got {other:?}"),
    }
}

#[test]
fn wrong_limits_are_refused() {
    for wrong in [
        Limits {
            max_batch_size: 0,
            ..limits()
        },
        Limits {
            max_batch_tokens: Some(0),
            ..limits()
        },
        Limits {
            max_batch_pixels: Some(0),
            ..limits()
        },
        Limits {
            capacity: 7,
            ..limits()
        },
        Limits {
            bucket_edges: vec![5, 5],
            ..limits()
        },
    ] {
        assert!(matches!(
            BatchQueue::new(wrong),
            Err(Error::InvalidArgument { .. })
        ));
    }
}

#[test]
fn batch_is_ready_when_the_oldest_has_waited() {
    let mut queue = queue(limits());
    push(&mut queue, &[(1, 1)], 3 * MS);
    push(&mut queue, &[(2, 1)], 9 * MS);

    assert_eq!(queue.next_batch(12 * MS), Decision::WaitUntil(13 * MS));
    assert_eq!(take(&mut queue, 13 * MS), [1, 2]);
    assert_eq!(queue.next_batch(13 * MS), Decision::Idle);
}

#[test]
fn batch_stops_before_the_entry_that_breaks_the_token_limit() {
    let mut queue = queue(Limits {
        max_batch_tokens: Some(10),
        ..limits()
    });
    push(&mut queue, &[(1, 4), (2, 4), (3, 4)], MS);

    assert_eq!(take(&mut queue, MS), [1, 2]);
    assert_eq!(queue.next_batch(MS), Decision::WaitUntil(11 * MS));
}

#[test]
fn padded_batch_costs_its_longest_entry_for_each() {
    let mut queue = queue(Limits {
        max_batch_tokens: Some(12),
        is_padded: true,
        ..limits()
    });
    push(&mut queue, &[(1, 2), (2, 2), (3, 4)], MS);
    assert_eq!(take(&mut queue, MS), [1, 2, 3], "3 * 4 tokens fill it");

    push(&mut queue, &[(4, 1), (5, 1), (6, 6)], MS);
    assert_eq!(take(&mut queue, MS), [4, 5], "3 * 6 tokens break it");
    assert!(!queue.has_full_batch(), "the longest that waits is known");
}

#[test]
fn batch_stops_before_the_entry_that_breaks_the_pixel_limit() {
    let mut queue = queue(Limits {
        max_batch_pixels: Some(100),
        ..limits()
    });
    for id in 1..4 {
        let entry = Entry {
            pixels: 40,
            ..Entry::new(id, 1)
        };
        queue.push(entry, MS).unwrap();
    }

    assert_eq!(take(&mut queue, MS), [1, 2]);
}

#[test]
fn entry_larger_than_a_batch_is_refused() {
    let mut queue = queue(Limits {
        max_batch_tokens: Some(10),
        max_batch_pixels: Some(20),
        ..limits()
    });
    let large = Entry {
        pixels: 21,
        ..Entry::new(1, 1)
    };

    let tokens = queue.push(Entry::new(1, 11), MS).unwrap_err();
    let pixels = queue.push(large, MS).unwrap_err();

    assert_eq!(
        tokens.to_string(),
        "an entry has 11 tokens, more than a batch may hold (10)"
    );
    assert_eq!(
        pixels.to_string(),
        "an entry has 21 pixels, more than a batch may hold (20)"
    );
    assert!(queue.is_empty());
}

#[test]
fn entries_of_different_buckets_share_no_batch() {
    let mut queue = queue(Limits {
        bucket_edges: vec![10, 100],
        ..limits()
    });
    push(&mut queue, &[(1, 10), (2, 11)], MS);
    push(&mut queue, &[(3, 101), (4, 1)], 2 * MS);

    assert_eq!(take(&mut queue, 30 * MS), [1, 4], "the oldest bucket first");
    assert_eq!(take(&mut queue, 30 * MS), [2]);
    assert_eq!(take(&mut queue, 30 * MS), [3]);
}

#[test]
fn full_bucket_does_not_wait_for_an_older_one() {
    let mut queue = queue(Limits {
        max_batch_size: 2,
        bucket_edges: vec![10],
        ..limits()
    });
    push(&mut queue, &[(1, 50)], MS);
    push(&mut queue, &[(2, 1), (3, 1)], 2 * MS);

    assert_eq!(take(&mut queue, 2 * MS), [2, 3]);
    assert_eq!(queue.next_batch(2 * MS), Decision::WaitUntil(11 * MS));
}

#[test]
fn priority_overtakes_those_within_its_head_start() {
    let mut queue = queue(Limits {
        max_batch_size: 1,
        priority_step: 10 * MS,
        ..limits()
    });
    push(&mut queue, &[(1, 1)], MS);
    push(&mut queue, &[(2, 1)], 5 * MS);
    let urgent = Entry {
        priority: 1,
        ..Entry::new(3, 1)
    };
    queue.push(urgent, 12 * MS).unwrap();

    assert_eq!(take(&mut queue, 12 * MS), [1], "it came 11 ms before");
    assert_eq!(take(&mut queue, 12 * MS), [3]);
    assert_eq!(take(&mut queue, 12 * MS), [2]);
}

#[test]
fn entry_expires_at_its_deadline_and_wakes_for_it() {
    let mut queue = queue(limits());
    let entry = Entry {
        count: 2,
        deadline: Some(5 * MS),
        ..Entry::new(1, 1)
    };
    queue.push(entry, MS).unwrap();
    push(&mut queue, &[(7, 1)], MS);

    assert_eq!(queue.next_batch(4 * MS), Decision::WaitUntil(5 * MS));
    assert_eq!(queue.next_batch(5 * MS), Decision::Expired(vec![1, 2]));
    assert_eq!(take(&mut queue, 11 * MS), [7]);
    assert_eq!(queue.stats().expired, 2);
}

#[test]
fn run_is_split_over_batches_and_its_deadline_with_it() {
    let mut queue = queue(Limits {
        max_batch_size: 3,
        ..limits()
    });
    let run = Entry {
        count: 7,
        deadline: Some(50 * MS),
        ..Entry::new(10, 1)
    };
    queue.push(run, MS).unwrap();

    assert_eq!(take(&mut queue, MS), [10, 11, 12]);
    assert_eq!(take(&mut queue, MS), [13, 14, 15]);
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.next_batch(50 * MS), Decision::Expired(vec![16]));
}

#[test]
fn cancelled_run_leaves_with_all_that_still_waits_of_it() {
    let mut queue = queue(Limits {
        max_batch_size: 3,
        ..limits()
    });
    let run = Entry {
        count: 5,
        ..Entry::new(10, 3)
    };
    queue.push(run, MS).unwrap();
    push(&mut queue, &[(1, 3)], MS);
    assert_eq!(
        queue.push(Entry::new(10, 1), MS),
        Err(Error::DuplicateEntry { id: 10 })
    );

    assert_eq!(take(&mut queue, MS), [10, 11, 12]);
    assert_eq!(queue.cancel(10), 2);
    assert_eq!(queue.cancel(10), 0);

    queue.close();
    assert_eq!(take(&mut queue, MS), [1]);
}

#[test]
fn equal_keys_share_a_row() {
    let mut queue = queue(limits());
    for entry in [keyed(1, 7), keyed(2, 8), keyed(3, 7), keyed(4, 7)] {
        queue.push(entry, MS).unwrap();
    }
    assert_eq!(queue.len(), 4);

    let Decision::Batch(batch) = queue.next_batch(11 * MS) else {
        panic!("a batch is ready");
    };

    assert_eq!(batch.ids().collect::<Vec<_>>(), [1, 2]);
    let riders = [3, 4].map(|id| Rider { row: 0, id });
    assert_eq!(batch.riders, riders);
    assert!(queue.is_empty());
    assert_eq!((queue.stats().taken, queue.stats().coalesced), (4, 2));
}

#[test]
fn leader_that_leaves_hands_its_row_on() {
    let mut queue = queue(limits());
    for id in 1..5 {
        queue.push(keyed(id, 7), MS).unwrap();
    }

    assert_eq!(queue.cancel(1), 1);
    assert_eq!(queue.cancel(3), 1);

    let Decision::Batch(batch) = queue.next_batch(11 * MS) else {
        panic!("a batch is ready");
    };
    assert_eq!(batch.ids().collect::<Vec<_>>(), [2]);
    assert_eq!(batch.riders, [Rider { row: 0, id: 4 }]);
    queue.push(keyed(9, 7), 12 * MS).unwrap();
    assert_eq!(take(&mut queue, 22 * MS), [9], "the key is free again");
}

#[test]
fn leader_that_expires_hands_its_row_on() {
    let mut queue = queue(limits());
    let hurried = Entry {
        deadline: Some(3 * MS),
        ..keyed(1, 7)
    };
    queue.push(hurried, MS).unwrap();
    queue.push(keyed(2, 7), 2 * MS).unwrap();

    assert_eq!(queue.next_batch(3 * MS), Decision::Expired(vec![1]));
    assert_eq!(take(&mut queue, 11 * MS), [2]);
}

#[test]
fn rider_of_higher_priority_lifts_the_row() {
    let mut queue = queue(Limits {
        max_batch_size: 1,
        ..limits()
    });
    push(&mut queue, &[(1, 1)], MS);
    queue.push(keyed(2, 7), MS).unwrap();
    let urgent = Entry {
        priority: 3,
        ..keyed(3, 7)
    };
    queue.push(urgent, MS).unwrap();

    assert_eq!(take(&mut queue, MS), [2]);
}

#[test]
fn push_all_is_all_or_none() {
    let mut queue = queue(limits());
    push(&mut queue, &[(1, 1)], MS);
    let nine: Vec<Entry> = (2..10).map(|id| Entry::new(id, 1)).collect();
    let again = [keyed(5, 3), keyed(6, 3), Entry::new(1, 1)];

    let full = queue.push_all(&nine, MS).unwrap_err();
    let twice = queue.push_all(&again, MS).unwrap_err();

    assert_eq!(
        full.to_string(),
        "the queue holds 1 of at most 8 entries, no room for 8 more"
    );
    assert_eq!(twice, Error::DuplicateEntry { id: 1 });
    assert_eq!((queue.len(), queue.stats().pushed), (1, 1));
    queue.push_all(&again[..2], MS).unwrap();
}

#[test]
fn run_with_a_key_is_refused() {
    let run = Entry {
        count: 2,
        ..keyed(1, 7)
    };

    let error = queue(limits()).push(run, MS).unwrap_err();

    assert_eq!(
        error.to_string(),
        "count must be 1 where the entry has a key, got 2"
    );
}

#[test]
fn closed_queue_drains_at_once_and_refuses() {
    let mut queue = queue(limits());
    push(&mut queue, &[(1, 1)], MS);

    queue.close();

    assert_eq!(queue.push(Entry::new(2, 1), MS), Err(Error::QueueClosed));
    assert_eq!(take(&mut queue, MS), [1]);
    assert_eq!(queue.next_batch(MS), Decision::Idle);
}

#[test]
fn endless_wait_does_not_overflow() {
    let mut queue = queue(Limits {
        max_wait: Duration::MAX,
        priority_step: Duration::MAX,
        ..limits()
    });
    let patient = Entry {
        priority: i8::MIN,
        ..Entry::new(1, 1)
    };
    queue.push(patient, MS).unwrap();

    assert_eq!(queue.next_batch(MS), Decision::WaitUntil(Duration::MAX));
    queue.close();
    assert_eq!(take(&mut queue, MS), [1]);
}

#[test]
fn statistics_count_what_happened() {
    let mut queue = queue(limits());
    push(&mut queue, &[(1, 1), (2, 1), (3, 1)], MS);
    queue.cancel(2);

    take(&mut queue, 11 * MS);

    let stats = queue.stats();
    assert_eq!((stats.pushed, stats.taken, stats.cancelled), (3, 2, 1));
    assert_eq!(stats.batches, 1);
    assert_eq!(stats.queue_length.bars[..3], [1, 1, 1], "0, 1 and 2");
    assert_eq!(stats.batch_size.bars[2], 1, "2 rows are in 2..4");
    assert_eq!(stats.wait_us.bars[14], 2, "10 ms are in 8.2..16.4 ms");
    assert_eq!(stats.wait_us.count(), 2);
}

#[test]
fn histogram_counts_the_largest_values_in_its_last_bar() {
    let mut histogram = Histogram::default();
    histogram.record(u64::MAX, 2);

    assert_eq!(histogram.bars[Histogram::BARS - 1], 2);
}
