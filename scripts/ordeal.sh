#!/usr/bin/env bash
# The hard tests of backups in their long form: KILLS of each kind of work (200), FILES (200000), an aggregator that is away
# for AWAY_S seconds in the middle of a run (3600).
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

export CAMPANILE_BACKUP_KILLS="${KILLS:-200}"
export CAMPANILE_BACKUP_FILES="${FILES:-200000}"
export CAMPANILE_BACKUP_AWAY_S="${AWAY_S:-3600}"
cargo build --locked --workspace --bins
say "$CAMPANILE_BACKUP_KILLS kills of pruning, copying and restoring"
cargo test --locked -p campanile-backup --test kill_keep --test oracle_restore killed -- --nocapture
say "$CAMPANILE_BACKUP_KILLS kills of runs, $CAMPANILE_BACKUP_FILES files"
cargo test --locked -p campanile-agent --test backup -- --nocapture killing many
say "$CAMPANILE_BACKUP_KILLS kills of replication, an aggregator that is away for $CAMPANILE_BACKUP_AWAY_S s"
exec cargo test --locked -p campanile-tests --test e2e -- --nocapture killed_at_any_moment_is_whole away_for_a_while
