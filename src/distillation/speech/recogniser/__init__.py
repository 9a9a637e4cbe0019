"""The speech recogniser: features, hidden Markov models, mixtures, decision trees and the search."""
