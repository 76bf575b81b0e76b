"""The network and what it predicts: recipe, network, calibration, model, artifact, record."""
