"""What lmms-eval asked a model and was answered, counted with intervals, chance levels and published figures."""
