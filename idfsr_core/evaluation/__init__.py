"""Measuring: metrics, the protocol on people never seen, contact sheets, reports and the speed benchmark."""
