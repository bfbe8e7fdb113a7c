"""Questions, the predictors that answer them, and scores with intervals."""
