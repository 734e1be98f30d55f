//! What is configured in one run: stages, tenants, sources and thresholds.

use std::time::Duration;

use fastrand::Rng;
use traceprobe::domain::canary::Template;
use traceprobe::domain::kind::Kind;
use traceprobe::domain::tag::TenantCode;
use traceprobe::domain::time::Timestamp;
use traceprobe::domain::topology::{
    Capabilities, Owner, Role, Source, Stage, StageId, Tenant, TenantId, Topology,
};
use traceprobe::domain::tracker::SeenSource;

use super::history::*;
use super::pipeline::{ARCHIVE, DEAD, STREAM, TABLE, TRANSIT};

/// Draws what is configured.
pub fn draw(rng: &mut Rng) -> Rules {
    let tenants = rng.usize(2..=4);
    // In three of four runs all clocks are within their allowance, so every arrival must be right.
    let honest = rng.u8(0..4) > 0;
    let mut stage = |name, parent| {
        let allowance = rng.i64(0..=500 * MILLI);
        let off = if honest { allowance } else { allowance * 4 + 2 * SECOND };
        let target = rng.i64(SECOND..20 * SECOND);
        let missing_after = rng.i64(10 * SECOND..40 * SECOND);
        let offset = rng.i64(-off..=off);
        StageRules { name, parent, target, missing_after, allowance, offset, moves: rng.u8(0..3) == 0 }
    };
    let stages = vec![
        stage("stream", None),
        stage("archive", Some(STREAM)),
        stage("transit", Some(STREAM)),
        stage("table", Some(TRANSIT)),
        stage("dead", Some(STREAM)),
    ];
    let mut read_for: Vec<Vec<usize>> = Vec::new();
    let mut source_of = vec![vec![0; stages.len()]; tenants];
    for stage in STREAM..=DEAD {
        let first = read_for.len();
        // Each tenant has its own source, all share one, or some do.
        let sharing_probability = [0.0, 1.0, 0.5][rng.usize(0..3)];
        for (tenant, row) in source_of.iter_mut().enumerate() {
            if read_for.len() == first || rng.f64() >= sharing_probability {
                read_for.push(Vec::new());
            }
            row[stage] = rng.usize(first..read_for.len());
            if read_for.last().is_some_and(Vec::is_empty) {
                row[stage] = read_for.len() - 1;
            }
            read_for[row[stage]].push(tenant);
        }
    }
    // In half of the runs, every source has shown every tenant before.
    let unseen_probability = 0.5 * f64::from(rng.u8(0..2));
    let seen_before =
        (0..tenants).map(|_| std::array::from_fn(|_| rng.f64() >= unseen_probability)).collect();
    let slo = rng.i64(8..=30) * SECOND;
    Rules {
        slo,
        give_up: slo + rng.i64(30 * SECOND..150 * SECOND),
        grace: rng.i64(10 * SECOND..90 * SECOND),
        blind_after: rng.i64(12 * SECOND..30 * SECOND),
        copy_recheck: rng.i64(20 * SECOND..90 * SECOND),
        handover: 0,
        is_kept: true,
        stages,
        main_path: vec![STREAM, TRANSIT, TABLE],
        dead_letters: DEAD,
        source_of,
        read_for,
        seen_before,
    }
}

/// The name of a tenant.
pub fn name(tenant: usize) -> String {
    format!("tenant-{tenant}")
}

pub fn tenant_id(number: usize) -> TenantId {
    TenantId(u16::try_from(number).unwrap())
}

/// The same for the tracker, with the tenants that are configured.
pub fn topology(rules: &Rules, configured: &[bool]) -> Topology {
    let tenant = |number| Tenant {
        name: name(number).into(),
        code: TenantCode::of(&name(number)),
        label: name(number).into(),
        log_groups: vec!["/app".into()],
        template: Template::default(),
        interval: Duration::from_secs(30),
    };
    let id = |number| StageId(u16::try_from(number).unwrap());
    let micros = |micros| Duration::from_micros(u64::try_from(micros).unwrap());
    let stage = |(number, stage): (usize, &StageRules)| Stage {
        name: stage.name.into(),
        kind: Kind::S3,
        capabilities: if stage.moves { Capabilities::OBJECTS } else { Capabilities::ABSENCE },
        parent: stage.parent.map(id),
        role: match number {
            TABLE => Role::End,
            DEAD => Role::DeadLetter,
            STREAM | ARCHIVE | TRANSIT => Role::Way,
            _ => unreachable!("there are five stages"),
        },
        target: Some(micros(stage.target)),
        critical: None,
        missing_after: micros(stage.missing_after),
        clock_allowance: micros(stage.allowance),
    };
    // The number of a tenant among those that are configured.
    let tenant_id = |number: usize| tenant_id(configured[..number].iter().filter(|is| **is).count());
    let source = |(number, tenants): (usize, &Vec<usize>)| {
        let reads = |row: &Vec<usize>| row.iter().position(|source| *source == number);
        let stage = rules.source_of.iter().find_map(reads).unwrap();
        Source {
            stage: id(stage),
            name: format!("source {number}").into(),
            owner: match tenants[..] {
                [only] => Owner::One(tenant_id(only)),
                _ => Owner::Shared,
            },
            tenants: tenants.iter().copied().filter(|tenant| configured[*tenant]).map(tenant_id).collect(),
        }
    };
    Topology::new(
        (0..rules.source_of.len()).filter(|number| configured[*number]).map(tenant).collect(),
        rules.stages.iter().enumerate().map(stage).collect(),
        sources_of(rules, configured).map(|number| source((number, &rules.read_for[number]))).collect(),
    )
    .unwrap()
}

/// The sources of the tenants that are configured.
pub fn sources_of<'a>(rules: &'a Rules, configured: &'a [bool]) -> impl Iterator<Item = usize> + 'a {
    let is_read = |tenants: &[usize]| tenants.iter().any(|tenant| configured[*tenant]);
    (0..rules.read_for.len()).filter(move |source| is_read(&rules.read_for[*source]))
}

/// The sources that had shown a tenant's canaries before the first run.
pub fn seen_before(map: &Topology, rules: &Rules) -> Vec<SeenSource> {
    let of_tenant = |(number, stages): (usize, &[bool; STAGES])| {
        let tenant = tenant_id(number);
        let seen = map.stage_ids().zip(*stages).filter(|(_, seen)| *seen);
        let of_stage = move |(stage, _)| SeenSource {
            stage: map.stage(stage).name.clone(),
            source: map.source(map.source_of(tenant, stage)).name.clone(),
            tenant: map.tenant(tenant).name.clone(),
            at: Timestamp::from_micros(0),
        };
        seen.map(of_stage).collect::<Vec<_>>()
    };
    rules.seen_before.iter().enumerate().flat_map(of_tenant).collect()
}
