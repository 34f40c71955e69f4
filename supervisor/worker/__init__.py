"""The forked process that runs a docket Worker."""
