"""What models weigh, compute and cost, and whether claims about that can be true: arithmetic, without torch or network.

    shape = read_shape(Path("config.json"))
    cost = model_cost(shape, context=4096)
    run = training_run(cost, accelerator("h800"), {"tokens": 14.8e12, "gpu_hours": 2.664e6})

- `shape.py` reads any published configuration, `walk.py` lists what is stored and multiplied, `model.py` sums it up;
- `hardware.py` knows accelerators, `training.py` works a run out of what is known of it;
- `serving.py` bounds a fleet, `chips.py` puts a run on other chips, `ladder.py` climbs to the whole undertaking;
- `interval.py` and `identities.py` are the arithmetic of stated figures, by which `claims.py` and `verdict.py` judge;
- `ledger.py` keeps what was really spent.
"""
