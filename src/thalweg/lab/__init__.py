"""Work on a trained model: metrics, intervals, rivals, weak groups, what matters, the report."""
