#!/bin/sh
# The runs behind docs/results.md: benchmarks/results.sh SECTION [SEED ...]
#
# With seeds, one comparison per seed (several of these may run at once on one store); without, the conclusion over all of them. A
# run that was stopped goes on. Seeds of several machines: curate conclude $RESULTS/SECTION-*/ --out $RESULTS/SECTION $CURATE_DATA: the instruction sets. $CURATE_MODELS: the base models. $RESULTS: where the store and
# the verdicts go (default: build/results). CURATE: the command (default: .venv/bin/curate).
set -eu
: "${CURATE_DATA:?names the folder of the instruction sets}"
section=${1:?"name a section: mixed, gsm8k, heart, slice, transfer, truth"}
shift
curate=${CURATE:-.venv/bin/curate}
out=${RESULTS:-build/results}
mixed=$CURATE_DATA/mixed
export OMP_NUM_THREADS=1
mkdir -p "$out"

# compare SEEDS NAME ARGUMENTS...: all seeds at once, or those named on the command line one by one
compare() {
    seeds=$1 name=$2
    shift 2
    if [ -z "$asked" ]; then
        "$curate" compare "$@" --seeds "$seeds" --out "$out/$name" --store "$out/store" --threads 1 --overwrite
    else
        for seed in $asked; do
            "$curate" compare "$@" --seeds 1 --seed "$seed" --out "$out/$name-$seed" --store "$out/store" --threads 1 --overwrite
        done
    fi
}
asked="$*"

# score NAME POOL ARGUMENTS...
score() {
    name=$1
    shift
    COLUMNS=160 "$curate" score "$@" --truth planted --budget 10% --threads 1 --store "$out/store" --out "$out/$name" --overwrite \
        > "$out/$name.txt"
}

case $section in
mixed) # five methods, two budgets
    compare 5 mixed "$mixed/pool.parquet" --methods random,balanced,longest,perplexity,lobass --budget 5%,10% \
        --tokens 100000 --eval "$mixed/test.parquet" ;;
gsm8k) # a larger model
    compare 3 gsm8k "$CURATE_DATA/gsm8k/train.parquet" --limit 2000 --methods random,lobass --budget 10% --epochs 1 \
        --model "$CURATE_MODELS/base-28m" --eval "$CURATE_DATA/gsm8k/test.parquet" --no-full ;;
heart) # methods that read the whole pool
    compare 3 heart "$mixed/pool.parquet" --methods s2l:checkpoints=4:epochs=1,lobass,kmq,dpp,token-cleaning \
        --budget 10% --tokens 100000 --eval "$mixed/test.parquet" --no-full --matched all --second-rate 0 ;;
slice) # methods of pairs and gradients, on fewer rows
    compare 3 slice "$mixed/slice.parquet" --target "$mixed/dev.parquet" --budget 10% --tokens 50000 --no-full --matched all \
        --second-rate 0 --methods s2l:checkpoints=4,lobass,kmq,dpp,token-cleaning,delift,nn-cift,less:projection=sketch,bids:projection=sketch \
        --eval "$mixed/test.parquet" ;;
transfer) # a large model on what a small one chose
    compare 2 transfer "$CURATE_DATA/gsm8k/train.parquet" --limit 2000 --methods random,lobass,s2l:checkpoints=4 --budget 10% \
        --epochs 1 --model "$CURATE_MODELS/base-28m" --scorer-model "$CURATE_MODELS/base-4m" \
        --eval "$CURATE_DATA/gsm8k/test.parquet" --no-full --second-rate 0 ;;
truth) # how scores and picks treat planted defects: those that look at rows by themselves, and those of pairs and gradients
    rows=random,balanced,longest,perplexity,lobass,s2l:checkpoints=4,kmq,dpp,facility-location,token-cleaning,rho-1,sstoken
    pairs=delift,nn-cift,less:projection=sketch,bids:projection=sketch,iterative-kmq
    sample=data/sample
    score embedded-rows $sample/pool.parquet --seeds 3 --methods $rows
    score mixed-rows "$mixed/pool_planted.parquet" --seeds 1 --methods $rows
    score embedded-pairs $sample/pool.parquet --target $sample/dev.parquet --seeds 1 --methods $pairs
    score mixed-pairs "$mixed/pool_planted.parquet" --limit 2500 --target "$mixed/dev.parquet" --seeds 1 --methods $pairs ;;
*)
    echo "there is no section $section" >&2
    exit 2 ;;
esac
