// Alerts on Slipway itself. What a person has to see is a line of severity critical in its log, in the
// words that docs/operations.md lists; that it runs at all shows in the sweep's line each minute.

@description('Short name that the rules are named by.')
param name string

@description('Region.')
param location string

@description('Tags of the rules.')
param tags object

@description('Resource id of the workspace that Slipway\'s log is in.')
param workspaceId string

@description('Resource id of the Service Bus namespace.')
param busId string

@description('Resource id of the action group.')
param groupId string

var critical = 'AppTraces | where SeverityLevel >= 4 and (Message startswith "app " or Message startswith "queue ")'
// Each critical line is some alert's, and no line is two alerts'.
var failedJobs = 'Message matches regex "^app [^ ]+: (backup|verify|drill) job "'
var noVerified = 'Message matches regex "^app [^ ]+: (no backup set is verified|the newest verified backup)"'
var rules = [
  {
    name: 'rollout-needs-you'
    description: 'A rollout is held, its way back is not proved, or Slipway pages for another reason.'
    severity: 1
    query: '${critical} | where not(${failedJobs}) and not(${noVerified})'
    operator: 'GreaterThan'
    window: 'PT5M'
  }
  {
    name: 'backup-or-drill-failed'
    description: 'A backup, its verification or a drill failed.'
    severity: 1
    query: '${critical} | where ${failedJobs}'
    operator: 'GreaterThan'
    window: 'PT15M'
  }
  {
    name: 'no-verified-backup'
    description: 'No backup set is verified within the recovery point objective.'
    severity: 1
    query: '${critical} | where ${noVerified}'
    operator: 'GreaterThan'
    window: 'PT1H'
  }
  {
    name: 'configuration-unreadable'
    description: 'A setting or apps.yaml cannot be read.'
    severity: 1
    query: 'AppTraces | where Message has "SW400" or (SeverityLevel >= 4 and Message has "configuration cannot be read")'
    operator: 'GreaterThan'
    window: 'PT15M'
  }
  {
    name: 'does-not-run'
    description: 'No sweep for a quarter of an hour: Slipway does not run.'
    severity: 0
    query: 'AppTraces | where Message startswith "sweep"'
    operator: 'LessThan'
    window: 'PT15M'
  }
]

resource onLog 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: '${name}-slipway-${rule.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${name}: ${rule.description}'
      description: rule.description
      severity: rule.severity
      enabled: true
      autoMitigate: true
      scopes: [
        workspaceId
      ]
      evaluationFrequency: 'PT5M'
      windowSize: rule.window
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
            operator: rule.operator
            threshold: rule.operator == 'LessThan' ? 1 : 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: [
          groupId
        ]
      }
    }
  }
]

resource onDeadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-slipway-dead-letters'
  location: 'global'
  tags: tags
  properties: {
    description: 'A message could not be handled for hours. The sweep moves it to queue rejected.'
    severity: 1
    enabled: true
    autoMitigate: true
    scopes: [
      busId
    ]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'dead-letters'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.ServiceBus/namespaces'
          metricName: 'DeadletteredMessages'
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    actions: [
      {
        actionGroupId: groupId
      }
    ]
  }
}
