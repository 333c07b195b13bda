"""Churn and propensity: the probability that a label comes true."""
