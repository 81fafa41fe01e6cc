"""What is looked at before and while a graph is started: arguments, parameter files, namespaces, domain, log."""
