# The chart: what it holds of other files. Included from the Makefile; alone: make -f mk/chart.mk chart

CHART_PYTHON ?= .venv/bin/python

.PHONY: chart

chart: ## make the chart's copy of the CRD and its README's table of values anew
	$(CHART_PYTHON) tools/chart.py
